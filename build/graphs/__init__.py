"""The network written directly in ONNX operators: three graphs that share one file of weights.

`vision`: pixels -> image features; `text`: the encoder (features and a prompt -> the decoder's memory) and the decoder
(one step). `writer` knows how a product is written at each precision. Exporters give graphs that run half as fast.
"""
