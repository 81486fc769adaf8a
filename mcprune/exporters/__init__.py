"""The pruned model for other programs: ONNX, torch.export, C; its footprint; what can be pruned."""
