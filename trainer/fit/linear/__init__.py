"""The linear model: item vectors in closed form, trends, placement of cold products."""
