"""Strict YAML: duplicate keys and impossible dates are errors, which name file and line."""

from pathlib import Path
from typing import Any

import yaml

from fivestage.common.errors import UserError


class _Loader(yaml.SafeLoader):
    """A safe loader that rejects duplicate keys; PyYAML itself would keep the last one."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise yaml.MarkedYAMLError(
                        problem=f"the key {key.value!r} is given twice", problem_mark=key.start_mark
                    )
                seen.add(key.value)
        return node

    def construct_yaml_timestamp(self, node: yaml.ScalarNode) -> Any:
        try:
            return super().construct_yaml_timestamp(node)
        except ValueError as error:
            raise yaml.MarkedYAMLError(
                problem=f"{node.value!r} does not exist: {error}", problem_mark=node.start_mark
            ) from error


_Loader.add_constructor("tag:yaml.org,2002:timestamp", _Loader.construct_yaml_timestamp)


def read_yaml(path: Path) -> Any:
    """Read a YAML file.

    Raises:
        UserError: when the file cannot be read; the message names file and line.
    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506 (a safe one)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}. Every project needs this file.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: save it as UTF-8 ({error.reason}).") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
