"""The linear model: item vectors in closed form, recent popularity, and vectors of cold products."""
