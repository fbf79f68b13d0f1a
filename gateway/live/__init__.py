"""The live catalogue: takes changes of products, and has their contents encoded."""
