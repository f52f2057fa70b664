"""Publishers: replay recordings, simulate machines, record topics, read this host's sensors."""
