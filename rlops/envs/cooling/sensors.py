"""What the control system reads: temperatures through slow, noisy sensors that sometimes repeat their last reading."""

from numba import njit

from rlops.envs.cooling.site import SENSOR
from rlops.envs.draws import normal, stream_key, uniform

SUPPLY, INLET, HOT, KINDS = range(4)


def sensor_fields(zones):
    """Return the fields of the state that describe the sensors of ``zones`` zones."""
    return [("sensed_c", "f8", (KINDS, zones)), ("read_c", "f8", (KINDS, zones))]


@njit(error_model="numpy")
def settle_sensors(p, s):
    """Let the sensors show what is there."""
    follow_sensors(s, 1.0)
    read_sensors(p, s, True)


@njit(error_model="numpy")
def follow_sensors(s, share):
    """Let the sensors close a ``share`` of the gap to what is there."""
    for z in range(s.fan.shape[0]):
        s.sensed_c[SUPPLY, z] += share * (s.supply_c[z] - s.sensed_c[SUPPLY, z])
        s.sensed_c[INLET, z] += share * (s.worst_c[z] - s.sensed_c[INLET, z])
        s.sensed_c[HOT, z] += share * (s.hot_c[z] - s.sensed_c[HOT, z])


@njit(error_model="numpy")
def read_sensors(p, s, first):
    """Read all sensors with bias and noise; those that drop out keep their reading."""
    zones = s.fan.shape[0]
    h = stream_key(s.key, s.minute, SENSOR)
    for kind in range(KINDS):
        for z in range(zones):
            entity = kind * zones + z
            if first or p.sensor_dropout == 0.0 or uniform(h, KINDS * zones + entity) >= p.sensor_dropout:
                reading = s.sensed_c[kind, z] + p.sensor_bias_k
                s.read_c[kind, z] = reading + p.sensor_noise_k * normal(h, entity)
