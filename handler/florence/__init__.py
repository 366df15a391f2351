"""The pure core: Florence-2 from image bytes to answers. No AWS, no web, no torch."""
