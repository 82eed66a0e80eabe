"""The main job: stages that know what they read, say what they skip, and run again what has changed."""
