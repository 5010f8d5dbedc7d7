"""`python -m serving`: the service in the foreground."""

from fivestage.serving.run import main
from problem import PROBLEM

if __name__ == "__main__":
    main(PROBLEM)
