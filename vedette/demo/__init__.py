"""The whole loop on one machine: broker, sensors, gateway, cloud, and who watches them."""
