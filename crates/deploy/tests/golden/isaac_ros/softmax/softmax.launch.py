"""softmax with Isaac ROS: image encoder, TensorRT, and a decoder where one of Isaac ROS's fits.

Made from config/detector.json by `sightline deploy`; README.md beside it names the arguments.
"""

import os

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import ComposableNodeContainer
from launch_ros.descriptions import ComposableNode

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ARGUMENTS = [
    ('input_image_width', '1280', "Width of the camera's images"),
    ('input_image_height', '720', "Height of the camera's images"),
    ('model_file_path', os.path.join(PACKAGE, 'model/softmax_video_1280x720.onnx'), 'The ONNX file'),
    ('engine_file_path', os.path.join(PACKAGE, 'benchmarks/engines/softmax_video_1280x720_dynamic_b4.engine'), 'The TensorRT engine'),
    ('backend', 'tensorrt', 'What runs the network: tensorrt, or triton with the repository of this package'),
    ('model_repository_path', os.path.join(PACKAGE, 'triton'), "Triton's repository"),
    ('force_engine_update', '', 'Whether the engine is made again [default: only where there is none]'),
    ('verbose', 'False', 'Whether TensorRT talks much'),
    ('confidence_threshold', '0.5', 'The score that a detection has to exceed'),
]


def nodes(context):
    """Everything that depends on the arguments."""
    def value(name):
        return context.perform_substitution(LaunchConfiguration(name))

    def truth(text):
        return text.lower() in ('true', '1')

    engine = value('engine_file_path')
    os.makedirs(os.path.dirname(os.path.abspath(engine)), exist_ok=True)
    forced = value('force_engine_update')
    encoder = os.path.join(
        get_package_share_directory('isaac_ros_dnn_image_encoder'), 'launch', 'dnn_image_encoder.launch.py')
    encode = IncludeLaunchDescription(
        PythonLaunchDescriptionSource([encoder]),
        launch_arguments={
            'input_image_width': value('input_image_width'),
            'input_image_height': value('input_image_height'),
            'network_image_width': '56',
            'network_image_height': '32',
            'image_mean': '[0.0, 0.0, 0.0]',
            'image_stddev': '[0.003921569, 0.003921569, 0.003921569]',
            # Padding stands for what it pads: without it the encoder crops.
            'enable_padding': 'True',
            'keep_aspect_ratio': 'False',
            'input_encoding': 'rgb8',
            'encoding_desired': 'rgb8',
            'final_tensor_name': 'input_tensor',
            'attach_to_shared_component_container': 'True',
            'component_container_name': 'detector_container',
            'dnn_image_encoder_namespace': 'detector_encoder',
            'image_input_topic': '/image',
            'camera_info_input_topic': '/camera_info',
            'tensor_output_topic': '/tensor_pub',
        }.items(),
    )
    tensors = {
        'input_tensor_names': ['input_tensor'],
        'input_binding_names': ['scaled_frames'],
        'input_tensor_formats': ['nitros_tensor_list_nchw_rgb_f32'],
        'output_tensor_names': ['logits', 'pred_boxes'],
        'output_binding_names': ['logits', 'pred_boxes'],
        'output_tensor_formats': ['nitros_tensor_list_nchw_rgb_f32'],
        'max_batch_size': 1,
    }
    if value('backend') == 'triton':
        model = None
        if model is None:
            raise RuntimeError("the repository has no model for the encoder's tensors: use backend:=tensorrt")
        network = ComposableNode(
            name='triton',
            package='isaac_ros_triton',
            plugin='nvidia::isaac_ros::dnn_inference::TritonNode',
            parameters=[dict(
                tensors, model_name=model, model_repository_paths=[value('model_repository_path')])],
        )
    else:
        network = ComposableNode(
            name='tensor_rt',
            package='isaac_ros_tensor_rt',
            plugin='nvidia::isaac_ros::dnn_inference::TensorRTNode',
            parameters=[dict(
                tensors,
                model_file_path=value('model_file_path'),
                engine_file_path=engine,
                # The graph was verified as it is; older nodes would round it to fp16.
                enable_fp16=False,
                force_engine_update=truth(forced) if forced else not os.path.isfile(engine),
                verbose=truth(value('verbose')),
            )],
        )
    composable = [
        network,
    ]
    container = ComposableNodeContainer(
        name='detector_container',
        namespace='',
        package='rclcpp_components',
        executable='component_container_mt',
        composable_node_descriptions=composable,
        arguments=['--ros-args', '--log-level', 'INFO'],
        output='screen',
    )
    return [container, encode]


def generate_launch_description():
    """Entry point of `ros2 launch`."""
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text) for name, default, text in ARGUMENTS]
    return LaunchDescription(arguments + [OpaqueFunction(function=nodes)])
