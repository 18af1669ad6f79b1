"""What is learned: views, loss and scores of each task. Needs PyTorch."""
