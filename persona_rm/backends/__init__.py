"""The models that methods and annotators are handed. A method never owns a model."""
