"""`python -m assistant`: the assistant's commands, with this project's problem and policy."""

from fivestage_assistant.ask_commands import assistant_application
from monitoring.policy import decide
from problem import PROBLEM

if __name__ == "__main__":
    assistant_application(PROBLEM, decide).main()
