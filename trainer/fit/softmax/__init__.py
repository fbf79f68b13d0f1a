"""The softmax model: batches, loss, training loop and checkpoints."""
