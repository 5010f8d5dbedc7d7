"""`python -m serving`: run the service in the foreground."""

from fivestage.serving.server import run

if __name__ == "__main__":
    run("serving.app:create")
