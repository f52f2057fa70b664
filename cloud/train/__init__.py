"""Training: closed-form fits, written as ONNX files that meet `vedette-model/1`."""
