"""The one training loop, its optimizer, its run folder and its way back after a crash."""
