"""Write and read .tflite files straight on the flatbuffer schema."""
