"""Executes a ROS 2 launch file with stand-ins for `launch`, `launch_ros` and `ament_index_python`.

    python3 execute.py FILE [NAME:=VALUE …]

Prints one JSON document: the arguments with their defaults, what is included with which arguments, and the nodes of the
container with their parameters. Only what `ros2 launch` accepts is accepted: values of launch arguments are strings, a
parameter is a string, number, truth value or a list of one of these.
"""
import importlib.util
import json
import os
import sys
import types


class Action:
    def __init__(self, *positional, **named):
        self.positional, self.named = positional, named


class DeclareLaunchArgument(Action):
    pass


class IncludeLaunchDescription(Action):
    pass


class OpaqueFunction(Action):
    pass


class PythonLaunchDescriptionSource(Action):
    pass


class LaunchConfiguration(Action):
    pass


class ComposableNodeContainer(Action):
    pass


class ComposableNode(Action):
    pass


class LaunchDescription:
    def __init__(self, entities):
        self.entities = entities


class Context:
    def __init__(self, values):
        self.values = values

    def perform_substitution(self, substitution):
        return self.values[substitution.positional[0]]


def module(name, **members):
    made = types.ModuleType(name)
    made.__dict__.update(members)
    sys.modules[name] = made


def parameter(value):
    items = value if isinstance(value, list) else [value]
    assert items and all(type(item) in (str, int, float, bool) for item in items), value
    assert len({type(item) for item in items}) == 1, value
    return value


def main():
    module('launch', LaunchDescription=LaunchDescription)
    module('launch.actions', DeclareLaunchArgument=DeclareLaunchArgument, OpaqueFunction=OpaqueFunction,
           IncludeLaunchDescription=IncludeLaunchDescription)
    module('launch.launch_description_sources', PythonLaunchDescriptionSource=PythonLaunchDescriptionSource)
    module('launch.substitutions', LaunchConfiguration=LaunchConfiguration)
    module('launch_ros')
    module('launch_ros.actions', ComposableNodeContainer=ComposableNodeContainer)
    module('launch_ros.descriptions', ComposableNode=ComposableNode)
    module('ament_index_python')
    module('ament_index_python.packages', get_package_share_directory=lambda name: '/opt/ros/share/' + name)

    spec = importlib.util.spec_from_file_location('launch_file', sys.argv[1])
    launch_file = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(launch_file)
    entities = launch_file.generate_launch_description().entities
    values = {}
    for entity in entities:
        if isinstance(entity, DeclareLaunchArgument):
            values[entity.positional[0]] = entity.named['default_value']
    defaults = dict(values)
    for word in sys.argv[2:]:
        name, value = word.split(':=')
        assert name in values, name
        values[name] = value
    assert all(type(value) is str for value in values.values()), values

    found = {'arguments': defaults, 'includes': [], 'containers': []}
    for entity in entities:
        if not isinstance(entity, OpaqueFunction):
            continue
        for action in entity.named['function'](Context(values)):
            if isinstance(action, IncludeLaunchDescription):
                arguments = dict(action.named['launch_arguments'])
                assert all(type(value) is str for value in arguments.values()), arguments
                found['includes'].append({'file': os.path.join(*action.positional[0].positional[0]), 'arguments': arguments})
            elif isinstance(action, ComposableNodeContainer):
                nodes = []
                for node in action.named['composable_node_descriptions']:
                    merged = {}
                    for part in node.named['parameters']:
                        merged.update({key: parameter(value) for key, value in part.items()})
                    nodes.append({'name': node.named['name'], 'package': node.named['package'],
                                  'plugin': node.named['plugin'], 'parameters': merged})
                found['containers'].append({'name': action.named['name'], 'nodes': nodes})
            else:
                raise AssertionError(action)
    json.dump(found, sys.stdout)


main()
