"""Weather and IT load of the user, as the records that environments share."""


def data_from(value):
    raise NotImplementedError
