"""Problems of dense prediction: segmentation, depth and normals of a scene."""
