"""Models as programs that run without this package: ``torch.export``, ONNX."""
