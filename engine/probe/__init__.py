"""What is injected into a training script of the user's own: standard library only, any Python from 3.9 on."""
