"""Other people's designs and bugs: rebuilt until they compile, run, and their labels looked at."""
