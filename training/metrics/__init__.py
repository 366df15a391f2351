"""The figures of an evaluation: captions, detections and how far their scores can be trusted."""
