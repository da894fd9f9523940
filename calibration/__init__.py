"""Run two real language models, record what a hybrid would meet, and fit it."""
