"""Problems of data that are made up."""
