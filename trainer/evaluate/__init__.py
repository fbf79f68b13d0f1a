"""How a model is judged: ranking, baselines, slices, intervals, the publish gate."""
