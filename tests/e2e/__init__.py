"""The image, built and run as on Lambda. Needs a Docker engine: `make test-e2e`."""
