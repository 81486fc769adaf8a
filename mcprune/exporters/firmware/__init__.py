"""Fixed-point networks for other tools: C, alkaid (Verilog), hls4ml, QONNX; each is compared bit for bit in the tool's own emulation."""
