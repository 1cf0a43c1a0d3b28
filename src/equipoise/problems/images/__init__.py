"""Problems of images."""
