"""The only room with TensorFlow and Keras: training and prediction behind the same events as `engine.training`."""
