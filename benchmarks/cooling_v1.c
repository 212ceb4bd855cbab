/* DatacenterCooling v1 in C, statement by statement: what a compiler of C makes of the same kernel.
 *
 * The layout of records, the constants and the tables come from the generated header, which kernel_c.py writes from the
 * Python modules. Files of weather and load are left out; both are made up from the parameters.
 */
#include GENERATED

#include <math.h>
#include <string.h>

/* Python's min and max: the first argument unless the second is strictly beyond. */
#define MIN(a, b) ((b) < (a) ? (b) : (a))
#define MAX(a, b) ((b) > (a) ? (b) : (a))
#define EACH_ZONE for (i64 z = 0; z < ZONES; z++)
#define INLINE static inline __attribute__((always_inline))

typedef int64_t i64;
typedef uint64_t u64;

INLINE double clipped(double x, double low, double high) {
    double raised = MAX(x, low);
    return MIN(raised, high);
}

/* --- random draws ----------------------------------------------------------------------------------- */

INLINE u64 mixed(u64 word) {
    u64 z = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static const u64 GOLDEN = 0x9E3779B97F4A7C15u, STEP = 0xD1B54A32D192ED03u, SECOND = 0x632BE59BD9B4E019u;

INLINE u64 episode_key(u64 seed, i64 episode) { return mixed(mixed(seed + GOLDEN) + (u64)episode * STEP); }

INLINE u64 stream_key(u64 key, i64 step, i64 stream) {
    return mixed(mixed(key + (u64)stream * GOLDEN) + (u64)step * STEP);
}

INLINE double uniform(u64 h, i64 entity) {
    return (double)(mixed(h + (u64)entity * GOLDEN + STEP) >> 11) * 0x1p-53 + 0x1p-54;
}

INLINE i64 integer(u64 h, i64 entity, i64 n) { return (i64)(uniform(h, entity) * n); }

INLINE double normal(u64 h, i64 entity) {
    double radius = sqrt(-2.0 * log(uniform(h, entity)));
    return radius * cos(2.0 * M_PI * uniform(h ^ SECOND, entity));
}

/* --- exponential and logarithm ---------------------------------------------------------------------- */

typedef struct {
    double power, more;
} Parts;

INLINE i64 bits_of(double x) {
    i64 bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

INLINE double double_of(i64 bits) {
    double x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE Parts parts(double x) {
    x = clipped(x, -700.0, 700.0);
    double rounded = x * PER_LN_2 + ROUND;
    double k = rounded - ROUND;
    double r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    double r2 = r * r, r4 = r2 * r2;
    double low = (1.0 / 2 + r * (1.0 / 6)) + r2 * (1.0 / 24 + r * (1.0 / 120));
    double middle = (1.0 / 720 + r * (1.0 / 5040)) + r2 * (1.0 / 40320 + r * (1.0 / 362880));
    double high = (1.0 / 3628800 + r * (1.0 / 39916800)) + r2 * (1.0 / 479001600 + r * (1.0 / 6227020800.0));
    double power = double_of((i64)((u64)(bits_of(rounded) + BIAS) << MANTISSA));
    return (Parts){power, r + r2 * (low + r4 * (middle + r4 * high))};
}

INLINE double exp_of(double x) {
    Parts a = parts(x);
    return a.power + a.power * a.more;
}

INLINE double decayed(double z) {
    Parts a = parts(-z);
    return (1.0 - a.power) - a.power * a.more;
}

INLINE double log_of(double x) {
    i64 bits = bits_of(x);
    i64 k = (bits - ROOT_HALF) >> MANTISSA;
    double m = double_of(bits - (i64)((u64)k << MANTISSA));
    double s = (m - 1.0) / (m + 1.0);
    double s2 = s * s, s4 = s2 * s2;
    double low = (1.0 / 3 + s2 * (1.0 / 5)) + s4 * (1.0 / 7 + s2 * (1.0 / 9));
    double high = (1.0 / 11 + s2 * (1.0 / 13)) + s4 * (1.0 / 15 + s2 * (1.0 / 17)) + s4 * s4 * (1.0 / 19 + s2 * (1.0 / 21));
    double series = 2.0 * s + 2.0 * s * s2 * (low + s4 * s4 * high);
    return k * LN_2_HIGH + (series + k * LN_2_LOW);
}

INLINE double power_of(double x, double exponent) { return exp_of(exponent * log_of(x)); }

INLINE double effectiveness(double units, double ratio) {
    double d = units * (1.0 - ratio) + LEAST;
    double gone = decayed(d);
    double share = units * (gone / d);
    return share / (share + (1.0 - gone));
}

/* --- moist air -------------------------------------------------------------------------------------- */

static double saturation_pressure_pa(double t_c) {
    double t = t_c + 273.15, log_pa;
    if (t_c < 0.0)
        log_pa = -5.6745359e3 / t + 6.3925247 +
                 t * (-9.6778430e-3 + t * (6.2215701e-7 + t * (2.0747825e-9 - t * 9.4840240e-13))) + 4.1635019 * log(t);
    else
        log_pa = -5.8002206e3 / t + 1.3914993 + t * (-4.8640239e-2 + t * (4.1764768e-5 - t * 1.4452093e-8)) +
                 6.5459673 * log(t);
    return exp(log_pa);
}

static double log_slope_per_k(double t_c) {
    double t = t_c + 273.15;
    if (t_c < 0.0) {
        double polynomial = -9.6778430e-3 + t * (1.24431402e-6 + t * (6.2243475e-9 - t * 3.7936096e-12));
        return 5.6745359e3 / (t * t) + polynomial + 4.1635019 / t;
    }
    return 5.8002206e3 / (t * t) - 4.8640239e-2 + t * (8.3529536e-5 - t * 4.3356279e-8) + 6.5459673 / t;
}

INLINE double humidity_ratio(double vapour_pa, double pressure_pa) {
    return WATER_FROM_AIR * vapour_pa / (pressure_pa - vapour_pa);
}

INLINE double saturated_humidity_ratio(double t_c, double pressure_pa) {
    return humidity_ratio(saturation_pressure_pa(t_c), pressure_pa);
}

INLINE double saturated_enthalpy_j_per_kg(double t_c, double pressure_pa) {
    return 1006.0 * t_c + saturated_humidity_ratio(t_c, pressure_pa) * (2.501e6 + 1860.0 * t_c);
}

INLINE void humidity_by_wet_bulb(double t_c, double wet_c, double saturated, int frozen, double *above, double *below) {
    if (frozen) {
        *above = (2830.0 - 0.24 * wet_c) * saturated - 1.006 * (t_c - wet_c);
        *below = 2830.0 + 1.86 * t_c - 2.1 * wet_c;
    } else {
        *above = (2501.0 - 2.326 * wet_c) * saturated - 1.006 * (t_c - wet_c);
        *below = 2501.0 + 1.86 * t_c - 4.186 * wet_c;
    }
}

static double wet_bulb_c(double t_c, double ratio, double pressure_pa) {
    double above, below;
    humidity_by_wet_bulb(t_c, 0.0, saturated_humidity_ratio(0.0, pressure_pa), 0, &above, &below);
    int frozen = above > ratio * below;
    double wet_c = frozen ? MIN(t_c, 0.0) : t_c;
    for (i64 number = 0; number < NEWTON_STEPS; number++) {
        double saturated = saturated_humidity_ratio(wet_c, pressure_pa), above_rise, below_rise;
        humidity_by_wet_bulb(t_c, wet_c, saturated, frozen, &above, &below);
        double rise = saturated * (1.0 + saturated / WATER_FROM_AIR) * log_slope_per_k(wet_c);
        if (frozen) {
            above_rise = -0.24 * saturated + (2830.0 - 0.24 * wet_c) * rise + 1.006;
            below_rise = -2.1;
        } else {
            above_rise = -2.326 * saturated + (2501.0 - 2.326 * wet_c) * rise + 1.006;
            below_rise = -4.186;
        }
        double move = (above - ratio * below) / (above_rise - ratio * below_rise);
        wet_c -= move;
        if (fabs(move) < CLOSE_ENOUGH_K) break;
    }
    return MIN(wet_c, t_c);
}

/* --- weather and load ------------------------------------------------------------------------------- */

static void write_hour(const Params *restrict p, State *restrict s, i64 hour) {
    i64 day = s->first_day + hour / DAY_H;
    double swing = hypot(p->weather_noise_k, p->weather_variation_k);
    double mean = p->weather_mean_c + p->weather_season_k * cos(2.0 * M_PI * (day - WARMEST_DAY) / YEAR_D);
    mean += swing * s->weather_noise_k + p->weather_offset_k;
    double dry = mean + p->weather_day_k * cos(2.0 * M_PI * (hour % DAY_H - WARMEST_HOUR) / DAY_H);
    double dew = mean - p->dew_depression_k;
    double ratio = saturated_humidity_ratio(MIN(dry, dew), p->pressure_pa);
    dry = clipped(dry, -40.0, 55.0);
    s->air_pa = p->pressure_pa;
    s->dry_bulb_1_c = dry;
    s->wet_bulb_1_c = clipped(wet_bulb_c(dry, ratio, p->pressure_pa), -40.0, 35.0);
}

static void next_hour(const Params *restrict p, State *restrict s) {
    i64 hour = s->minute / 60 + 1;
    s->weather_noise_k = WEATHER_KEEPS * s->weather_noise_k + WEATHER_RENEWS * normal(stream_key(s->key, hour, WEATHER), 0);
    write_hour(p, s, hour);
}

static void write_minute(const Params *restrict p, State *restrict s) {
    double into = (s->minute % 60) / 60.0;
    s->dry_bulb_c = s->dry_bulb_0_c + into * (s->dry_bulb_1_c - s->dry_bulb_0_c);
    s->wet_bulb_c = s->wet_bulb_0_c + into * (s->wet_bulb_1_c - s->wet_bulb_0_c);
    s->air_j_per_kg = saturated_enthalpy_j_per_kg(s->wet_bulb_c, s->air_pa);
    double hour = s->minute / 60.0;
    int weekend = (s->weekday + s->minute / DAY_MIN) % 7 >= 5;
    double rhythm = 1.0 + LOAD_DAY * cos(2.0 * M_PI * (hour - WARMEST_HOUR) / DAY_H);
    double base = p->load_mean * (rhythm - LOAD_WEEKEND * weekend) * p->load_scale;
    EACH_ZONE s->utilisation[z] = clipped(base * s->share[z] + p->load_noise * s->noise[z] + s->burst[z], LEAST_UTILISATION, 1.0);
}

static void begin_site(const Params *restrict p, State *restrict s) {
    u64 h = stream_key(s->key, 0, START);
    i64 days = (i64)YEAR_D;
    s->first_day = p->start_day >= 0 ? p->start_day % days : integer(h, 0, days);
    s->weekday = integer(h, 1, 7);
    s->weather_noise_k = normal(h, 3);
    write_hour(p, s, 0);
    s->dry_bulb_0_c = s->dry_bulb_1_c;
    s->wet_bulb_0_c = s->wet_bulb_1_c;
    next_hour(p, s);
    EACH_ZONE {
        s->share[z] = 1.0;
        s->noise[z] = normal(stream_key(s->key, 0, ZONE_NOISE), z);
    }
    write_minute(p, s);
}

static void draw_shares(const Params *restrict p, State *restrict s, i64 hour) {
    u64 h = stream_key(s->key, hour, SHARES);
    double total = 0.0;
    EACH_ZONE {
        s->share[z] = exp(p->zone_skew * normal(h, z));
        total += s->share[z];
    }
    EACH_ZONE s->share[z] *= ZONES / total;
}

static void shift_shares(const Params *restrict p, State *restrict s) {
    i64 hour = (s->minute + 1) / 60;
    if ((s->minute + 1) % 60 == 0 && uniform(stream_key(s->key, hour, SHIFT), 0) < p->shift_per_day / DAY_H)
        draw_shares(p, s, hour);
}

static void move_site(const Params *restrict p, State *restrict s) {
    s->minute += 1;
    if (s->minute % 60 == 0) {
        s->dry_bulb_0_c = s->dry_bulb_1_c;
        s->wet_bulb_0_c = s->wet_bulb_1_c;
        next_hour(p, s);
    }
    u64 noise = stream_key(s->key, s->minute, ZONE_NOISE), burst = stream_key(s->key, s->minute, BURST);
    int bursts = uniform(burst, 0) < p->burst_per_day / DAY_MIN;
    i64 hit = integer(burst, 1, ZONES);
    EACH_ZONE {
        s->noise[z] = NOISE_KEEPS * s->noise[z] + NOISE_RENEWS * normal(noise, z);
        s->burst[z] *= BURST_KEEPS;
        if (bursts && z == hit) s->burst[z] += BURST_HEIGHT;
    }
    write_minute(p, s);
}

/* --- the hall --------------------------------------------------------------------------------------- */

INLINE double relaxed(double t_c, double target_c, double rate_per_s, double dt_s, double *mean_c) {
    double z = rate_per_s * dt_s + LEAST;
    double gap = t_c - target_c, gone = decayed(z);
    *mean_c = target_c + gap * (gone / z);
    return t_c - gap * gone;
}

INLINE double moved(double position, double wanted, double most) { return position + clipped(wanted - position, -most, most); }

INLINE double busy_share(double utilisation) { return 2.0 * utilisation - power_of(utilisation, 1.4); }

INLINE double server_w(const Params *restrict p, double busy, double inlet_c) {
    return (p->idle_w + (p->busy_w - p->idle_w) * busy) * (1.0 + p->leak_per_k * (inlet_c - 25.0));
}

INLINE double server_fan_speed(const Params *restrict p, double utilisation, double inlet_c) {
    double above = inlet_c - p->fan_knee_c;
    return clipped(0.32 + 0.25 * utilisation + 0.030 * MAX(0.0, above), 0.25, 1.0);
}

INLINE double server_fan_w(double speed) { return SERVER_FAN_W * speed * speed * speed; }

INLINE double servers_conductance_w_per_k(double n, double flow_kg_per_s) {
    double capacity = flow_kg_per_s * AIR_J_PER_KG_K;
    double ua = n * SERVER_UA_W_PER_K * power_of(flow_kg_per_s / (n * SERVER_UA_FLOW_KG_PER_S), 0.8);
    return decayed(ua / capacity) * capacity;
}

INLINE double coil_conductance_w_per_k(const Params *restrict p, double air_kg_per_s, double water_kg_per_s) {
    double slower = MIN(air_kg_per_s, water_kg_per_s);
    double air_share = air_kg_per_s / HANDLER_FLOW_KG_PER_S, water_share = water_kg_per_s / COIL_WATER_KG_PER_S;
    air_share = slower > 0.0 ? air_share : 1.0;
    water_share = slower > 0.0 ? water_share : 1.0;
    double resistance = 0.6 * power_of(air_share, -0.65) + 0.4 * power_of(water_share, -0.8) + p->coil_fouling;
    double air = air_share * (HANDLER_FLOW_KG_PER_S * AIR_J_PER_KG_K);
    double water = water_share * (COIL_WATER_KG_PER_S * WATER_J_PER_KG_K);
    double least = MIN(air, water), most = MAX(air, water);
    double units = COIL_UA_W_PER_K * p->coil_ua / (resistance * least);
    double conductance = least * effectiveness(units, least / most);
    return slower > 0.0 ? conductance : 0.0;
}

INLINE double move_actuators(const Params *restrict p, State *restrict s, i64 z, double fan, double valve, double dt_s) {
    double before_fan = s->fan[z], before_valve = s->drive[z];
    s->fan[z] = moved(before_fan, fan, dt_s / p->fan_slew_s);
    double wanted = fabs(valve - before_valve) > p->valve_stiction ? valve : before_valve;
    s->drive[z] = moved(before_valve, wanted, dt_s / p->valve_slew_s);
    double play = 0.5 * p->valve_hysteresis;
    s->valve[z] = clipped(s->valve[z], s->drive[z] - play, s->drive[z] + play);
    return fabs(s->fan[z] - before_fan) + fabs(s->drive[z] - before_valve);
}

static void update_handlers(const Params *restrict p, State *restrict s) {
    EACH_ZONE {
        double fan = s->fan[z], valve = s->valve[z];
        double air = HANDLER_FLOW_KG_PER_S * p->fan_gain * fan;
        double water = COIL_WATER_KG_PER_S * p->valve_gain * exp_of(LOG_RANGEABILITY * (valve - 1.0));
        double watts = HANDLER_FAN_W * (0.03 + 0.97 * power_of(fan, 2.8)) / p->fan_efficiency;
        s->air_kg_per_s[z] = fan >= FAN_STOPPED ? air : 0.0;
        s->water_kg_per_s[z] = valve >= VALVE_CLOSED ? water : 0.0;
        s->handler_fan_w[z] = fan >= FAN_STOPPED ? watts : 0.0;
        s->coil_w_per_k[z] = coil_conductance_w_per_k(p, s->air_kg_per_s[z], s->water_kg_per_s[z]);
    }
}

INLINE void sense_inlet(const Params *restrict p, State *restrict s, i64 z) {
    s->inlet_c[z] = (1.0 - s->share_hot[z]) * s->cold_c[z] + s->share_hot[z] * s->hot_c[z];
    s->worst_c[z] = s->inlet_c[z] + p->hot_spot * (s->hot_c[z] - s->cold_c[z]);
}

static double mean_return_c(const State *s) {
    double flow = 0.0, heat = 0.0;
    EACH_ZONE {
        flow += s->air_kg_per_s[z];
        heat += s->air_kg_per_s[z] * s->return_c[z];
    }
    return flow > 0.0 ? heat / flow : 0.0;
}

static void move_zones(const Params *restrict p, State *restrict s, double mean_return, double chilled_c, double dt_s) {
    EACH_ZONE {
        double entering_c = s->return_c[z] + p->return_mixing * (mean_return - s->return_c[z]), nothing;
        double n = SERVERS * p->it_scale;
        double air = s->air_kg_per_s[z], hot = s->hot_c[z], share = s->share_hot[z];
        double speed = server_fan_speed(p, s->utilisation[z], s->inlet_c[z]);
        double through = n * SERVER_FLOW_KG_PER_S * speed;
        double from_cold = (1.0 - share) * through;
        double over = air - from_cold, under = from_cold - air;
        double past = MAX(0.0, over), back = MAX(0.0, under);
        s->server_kg_per_s[z] = through;
        s->cpu_w[z] = n * server_w(p, s->busy_share[z], s->inlet_c[z]);
        s->server_fan_w[z] = n * server_fan_w(speed);

        double carried = air * AIR_J_PER_KG_K;
        double inverse = 1.0 / carried, per_carried = air > 0.0 ? inverse : 0.0;
        double blown_c = entering_c + s->handler_fan_w[z] * per_carried, supply;
        double coil_w = s->coil_w_per_k[z] * (blown_c - chilled_c);
        s->coil_w[z] = coil_w;
        s->supply_c[z] = relaxed(s->supply_c[z], blown_c - coil_w * per_carried, carried / COIL_J_PER_K, dt_s, &supply);

        double structure = s->structure_c[z], cold;
        double conductance = (air + back) * AIR_J_PER_KG_K + STRUCTURE_W_PER_K;
        double inflow = (air * supply + back * hot) * AIR_J_PER_KG_K + STRUCTURE_W_PER_K * structure;
        double cold_j_per_k = COLD_J_PER_K * p->air_mass;
        s->cold_c[z] = relaxed(s->cold_c[z], inflow / conductance, conductance / cold_j_per_k, dt_s, &cold);
        s->structure_c[z] += STRUCTURE_W_PER_K * (cold - structure) * dt_s / STRUCTURE_J_PER_K;

        double inlet = (1.0 - share) * cold + share * hot;
        double mass = n * SERVER_J_PER_K * p->server_mass, solid;
        double given = servers_conductance_w_per_k(n, through);
        s->server_c[z] = relaxed(s->server_c[z], inlet + s->cpu_w[z] / given, given / mass, dt_s, &solid);
        double exhaust = inlet + (given * (solid - inlet) + s->server_fan_w[z]) / (through * AIR_J_PER_KG_K);

        double hot_j_per_k = HOT_J_PER_K * p->air_mass, mean_hot;
        double returned = air - past;
        double stays = (through * exhaust - (through - returned) * hot) * AIR_J_PER_KG_K;
        double towards = stays / (returned * AIR_J_PER_KG_K), target = returned > 0.0 ? towards : hot;
        double after = relaxed(hot, target, returned * AIR_J_PER_KG_K / hot_j_per_k, dt_s, &mean_hot);
        double filled = hot + stays * dt_s / hot_j_per_k;
        s->hot_c[z] = returned > 0.0 ? after : filled;
        double gained = returned * mean_hot + past * cold - air * s->return_c[z];
        s->return_c[z] += gained * AIR_J_PER_KG_K * dt_s / (RETURN_J_PER_K * p->air_mass);
        double least = p->recirculation, wanted = 1.0 - (1.0 - p->bypass) * air / through;
        wanted = MAX(least, wanted);
        s->share_hot[z] = relaxed(share, wanted, 1.0 / p->recirculation_lag_s, dt_s, &nothing);
        sense_inlet(p, s, z);
    }
}

static double zone_heat_j(const Params *restrict p, const State *s, i64 z) {
    double air = COLD_J_PER_K * s->cold_c[z] + HOT_J_PER_K * s->hot_c[z] + RETURN_J_PER_K * s->return_c[z];
    double servers = SERVERS * p->it_scale * SERVER_J_PER_K * p->server_mass * s->server_c[z];
    return p->air_mass * air + servers + COIL_J_PER_K * s->supply_c[z] + STRUCTURE_J_PER_K * s->structure_c[z];
}

/* --- the plant -------------------------------------------------------------------------------------- */

static double chiller_w(const Params *restrict p, double heat_w, double capacity_w, double chilled_c, double entering_c, double factor) {
    if (heat_w <= 0.0) return 0.0;
    double asked = heat_w / capacity_w;
    double load = MAX(asked, LEAST_LOAD);
    double evaporating_k = chilled_c - EVAPORATOR_APPROACH_K + 273.15;
    double condensing_k = entering_c + CONDENSER_APPROACH_PER_LOAD_K * load + CONDENSER_APPROACH_K + 273.15;
    double lift_k = condensing_k - evaporating_k;
    lift_k = MAX(lift_k, LEAST_LIFT_K);
    double at_load = PART_LOAD[0] + load * (PART_LOAD[1] + load * PART_LOAD[2]);
    double full_w = capacity_w * lift_k / (p->chiller_eta * factor * evaporating_k);
    return full_w * at_load * asked / load;
}

static void move_chilled_water(const Params *restrict p, State *restrict s, double heat_w, double set_c, double dt_s) {
    double before = s->chilled_c, nothing;
    double pulled = relaxed(before, set_c, 1.0 / p->loop_lag_s, dt_s, &nothing);
    s->evaporator_w = clipped(heat_w - LOOP_J_PER_K * (pulled - before) / dt_s, 0.0, p->chiller_capacity_w);
    s->chilled_c = before + (heat_w - s->evaporator_w) * dt_s / LOOP_J_PER_K;
    s->load = s->evaporator_w / p->chiller_capacity_w;
}

static double tower_w(const Params *restrict p, double fan, double leaving_c, double range_k, double air_j_per_kg, double pressure_pa) {
    double entering_c = leaving_c + range_k;
    double enthalpy = saturated_enthalpy_j_per_kg(entering_c, pressure_pa);
    double span_k = MAX(range_k, 0.1);
    double slope = (enthalpy - saturated_enthalpy_j_per_kg(entering_c - span_k, pressure_pa)) / span_k;
    double air = TOWER_AIR_KG_PER_S * fan;
    double units = p->tower_c * power_of(CONDENSER_KG_PER_S / air, 0.4);
    double ratio = air * slope / (CONDENSER_KG_PER_S * WATER_J_PER_KG_K);
    return effectiveness(units, ratio) * air * (enthalpy - air_j_per_kg);
}

static double tower_fan_w(double fan) {
    if (fan < TOWER_FAN_STOPPED) return 0.0;
    return TOWER_FAN_W * (TOWER_CUBIC[0] + fan * (TOWER_CUBIC[1] + fan * (TOWER_CUBIC[2] + fan * TOWER_CUBIC[3])));
}

static void move_basin(const Params *restrict p, State *restrict s, double dt_s) {
    double heat = s->evaporator_w + s->compressor_w + s->condenser_pump_w;
    double range_k = heat / (CONDENSER_KG_PER_S * WATER_J_PER_KG_K);
    double taken = tower_w(p, s->tower_fan, s->basin_c, range_k, s->air_j_per_kg, s->air_pa);
    double to_the_limit = heat + BASIN_J_PER_K * (s->basin_c - LEAST_ENTERING_C) / dt_s;
    double most = MAX(to_the_limit, 0.0);
    s->tower_w = MIN(taken, most);
    s->basin_c += (heat - s->tower_w) * dt_s / BASIN_J_PER_K;
}

static double supply_loss_w(const Params *restrict p, double it_w) {
    double x = it_w / UPS_W;
    return UPS_W * (p->ups_standing + x * (UPS_LINEAR + x * UPS_SQUARE)) + DISTRIBUTION * it_w;
}

static void move_hall_and_plant(const Params *restrict p, State *restrict s) {
    double chilled = s->chilled_c, water = 0.0, heat = 0.0;
    move_zones(p, s, mean_return_c(s), chilled, SUBSTEP_S);
    EACH_ZONE {
        water += s->water_kg_per_s[z];
        heat += s->coil_w[z];
    }
    if (water > 0.0) s->chilled_return_c = chilled + heat / (water * WATER_J_PER_KG_K);
    double x = water / CHILLED_PUMP_KG_PER_S;
    s->chilled_pump_w = CHILLED_PUMP_W * x * x * sqrt(x) + CHILLED_PUMP_STANDING_W;
    double set_c = COLDEST_SET_C + s->chilled_set * (WARMEST_SET_C - COLDEST_SET_C);
    move_chilled_water(p, s, heat + s->chilled_pump_w, set_c, SUBSTEP_S);
    double drifted = 1.0 + p->chiller_drift * s->minute / (30.0 * DAY_MIN);
    s->compressor_w = chiller_w(p, s->evaporator_w, p->chiller_capacity_w, chilled, s->basin_c, drifted);
    s->condenser_pump_w = CONDENSER_PUMP_W;
    s->tower_fan_w = tower_fan_w(s->tower_fan);
    move_basin(p, s, SUBSTEP_S);
}

/* --- sensors ---------------------------------------------------------------------------------------- */

static void follow_sensors(State *restrict s, double share) {
    EACH_ZONE {
        s->sensed_c[SUPPLY_SENSOR][z] += share * (s->supply_c[z] - s->sensed_c[SUPPLY_SENSOR][z]);
        s->sensed_c[INLET][z] += share * (s->worst_c[z] - s->sensed_c[INLET][z]);
        s->sensed_c[HOT][z] += share * (s->hot_c[z] - s->sensed_c[HOT][z]);
    }
}

static void read_sensors(const Params *restrict p, State *restrict s, int first) {
    u64 h = stream_key(s->key, s->minute, SENSOR);
    for (i64 kind = 0; kind < KINDS; kind++) EACH_ZONE {
            i64 entity = kind * ZONES + z;
            if (first || p->sensor_dropout == 0.0 || uniform(h, KINDS * ZONES + entity) >= p->sensor_dropout) {
                double reading = s->sensed_c[kind][z] + p->sensor_bias_k;
                s->read_c[kind][z] = reading + p->sensor_noise_k * normal(h, entity);
            }
        }
}

/* --- accounts --------------------------------------------------------------------------------------- */

static double stored_heat_j(const Params *restrict p, const State *s) {
    double heat = LOOP_J_PER_K * s->chilled_c + BASIN_J_PER_K * s->basin_c;
    EACH_ZONE heat += zone_heat_j(p, s, z);
    return heat;
}

static void open_accounts(const Params *restrict p, State *restrict s) {
    s->first_heat_j = stored_heat_j(p, s);
    s->max_inlet_c = s->worst_c[0];
    EACH_ZONE {
        s->max_inlet_c = MAX(s->max_inlet_c, s->worst_c[z]);
        for (i64 minute = 0; minute < HISTORY_MIN; minute++) s->past_c[z][minute] = s->worst_c[z];
    }
}

static double reference_w(const Params *restrict p, const State *s) {
    double power = 0.0;
    EACH_ZONE {
        double speed = server_fan_speed(p, s->utilisation[z], REFERENCE_INLET_C);
        power += server_w(p, s->busy_share[z], REFERENCE_INLET_C) + server_fan_w(speed);
    }
    return SERVERS * p->it_scale * power;
}

static void meter(const Params *restrict p, State *restrict s) {
    double minutes = SUBSTEP_S / 60.0;
    for (i64 consumer = 0; consumer < CONSUMERS; consumer++) s->power_w[consumer] = 0.0;
    EACH_ZONE {
        s->power_w[CPU] += s->cpu_w[z];
        s->power_w[SERVER_FAN] += s->server_fan_w[z];
        s->power_w[HANDLER_FAN] += s->handler_fan_w[z];
        double worst = s->worst_c[z], above = worst - RECOMMENDED_C, below = LEAST_RECOMMENDED_C - s->inlet_c[z];
        double far_above = worst - ALLOWABLE_C;
        s->max_inlet_c = MAX(s->max_inlet_c, worst);
        s->hot_s[z] = worst >= RUNAWAY_C ? s->hot_s[z] + SUBSTEP_S : 0.0;
        double over = MAX(0.0, above) * minutes, under = MAX(0.0, below) * minutes;
        double beyond = MAX(0.0, far_above) * minutes;
        s->over_recommended_k_min += over;
        s->under_recommended_k_min += under;
        s->over_allowable_k_min += beyond;
        s->terms[OVER_RECOMMENDED] -= p->over_recommended_usd * over;
        s->terms[UNDER_RECOMMENDED] -= p->under_recommended_usd * under;
        s->terms[OVER_ALLOWABLE] -= p->over_allowable_usd * beyond * beyond / minutes;
        double limits = p->over_recommended_usd * over + p->under_recommended_usd * under;
        limits += p->over_allowable_usd * beyond * beyond / minutes;
        s->zone_usd[z] -= limits + p->price_usd_per_kwh * s->handler_fan_w[z] * SUBSTEP_S / J_PER_KWH;
    }
    s->power_w[PUMP] = s->chilled_pump_w + s->condenser_pump_w;
    s->power_w[TOWER_FAN] = s->tower_fan_w;
    s->power_w[COMPRESSOR] = s->compressor_w;
    s->power_w[SUPPLY] = supply_loss_w(p, s->power_w[CPU] + s->power_w[SERVER_FAN]);
    s->power_w[LIGHTS] = LIGHTS_W;
    for (i64 consumer = 0; consumer < CONSUMERS; consumer++) {
        s->energy_j[consumer] += s->power_w[consumer] * SUBSTEP_S;
        s->step_j += s->power_w[consumer] * SUBSTEP_S;
    }
    double into = s->power_w[CPU] + s->power_w[SERVER_FAN] + s->power_w[HANDLER_FAN] + s->power_w[PUMP] + s->compressor_w;
    s->heat_in_j += into * SUBSTEP_S;
    s->heat_out_j += s->tower_w * SUBSTEP_S;
}

static void watch_rate(const Params *restrict p, State *restrict s) {
    int broken = 0;
    i64 here = s->minute % HISTORY_MIN, earlier = (s->minute - QUARTER_MIN + HISTORY_MIN) % HISTORY_MIN;
    EACH_ZONE {
        double now = s->worst_c[z];
        double quarter = fabs(now - s->past_c[z][earlier]) - QUARTER_K, hour = fabs(now - s->past_c[z][here]) - HOUR_K;
        double excess = MAX(0.0, quarter) + MAX(0.0, hour);
        s->past_c[z][here] = now;
        s->rate_k_min += excess;
        s->terms[RATE] -= p->rate_usd * excess;
        s->zone_usd[z] -= p->rate_usd * excess;
        broken |= excess > 0.0;
    }
    s->rate_events += broken;
}

static double worst_usd_per_min(const Params *restrict p) {
    double leak = 1.0 + p->leak_per_k * (RUNAWAY_C + 10.0);
    double it = ZONES * SERVERS * p->it_scale * (p->busy_w * leak + SERVER_FAN_W);
    double power = 1.1 * it + ZONES * HANDLER_FAN_W / p->fan_efficiency + (2.0 * CHILLED_PUMP_W + LIGHTS_W);
    power += p->chiller_capacity_w / WORST_COP + CONDENSER_PUMP_W + TOWER_FAN_W;
    power += supply_loss_w(p, it);
    double kelvin = p->over_recommended_usd * (RUNAWAY_C - RECOMMENDED_C) + p->under_recommended_usd * LEAST_RECOMMENDED_C;
    kelvin += p->over_allowable_usd * ((RUNAWAY_C - ALLOWABLE_C) * (RUNAWAY_C - ALLOWABLE_C)) + p->rate_usd * 2.0 * RUNAWAY_C;
    double actuators = 2.0 * ZONES + 2.0;
    return p->price_usd_per_kwh * power * 60.0 / J_PER_KWH + ZONES * kelvin + p->stroke_usd * actuators * SUBSTEPS;
}

static void settle(const Params *restrict p, State *restrict s, double reference_j) {
    watch_rate(p, s);
    s->terms[ENERGY] = -p->price_usd_per_kwh * (s->step_j - reference_j) / J_PER_KWH;
    s->terms[WEAR] = -p->stroke_usd * s->step_strokes;
    s->strokes += s->step_strokes;
    s->water_kg += s->tower_w * SUBSTEP_S * SUBSTEPS / EVAPORATION_J_PER_KG * (1.0 + 1.0 / (CYCLES - 1.0));
    s->wet_bulb_k_min += s->wet_bulb_c;
    EACH_ZONE s->terminated |= s->hot_s[z] >= RUNAWAY_S || s->server_c[z] >= RUNAWAY_SERVER_C;
    i64 left_min = p->horizon_min - s->minute;
    if (s->terminated) {
        s->terms[RUNAWAY] = -RUNAWAY_FACTOR * (left_min + 1.0) * worst_usd_per_min(p);
    } else if (left_min <= 0) {
        s->truncated = 1;
        double gained = stored_heat_j(p, s) - s->first_heat_j, stored = MAX(0.0, gained);
        s->terms[STORED] = -p->price_usd_per_kwh * stored / STORED_COP / J_PER_KWH;
    }
    for (i64 term = 0; term < TERMS; term++) s->return_usd += s->terms[term];
}

/* --- the four verbs --------------------------------------------------------------------------------- */

static void reset(const Params *restrict p, State *restrict s) {
    begin_site(p, s);
    draw_shares(p, s, 0);
    write_minute(p, s);
    EACH_ZONE {
        s->fan[z] = 0.7;
        s->drive[z] = s->valve[z] = 0.6;
        s->share_hot[z] = p->recirculation;
        s->supply_c[z] = s->cold_c[z] = s->structure_c[z] = 20.0;
        s->hot_c[z] = s->return_c[z] = 33.0;
        s->server_c[z] = 45.0;
        sense_inlet(p, s, z);
        s->busy_share[z] = busy_share(s->utilisation[z]);
    }
    s->chilled_c = 10.0;
    s->chilled_return_c = 15.0;
    s->chilled_set = (10.0 - COLDEST_SET_C) / (WARMEST_SET_C - COLDEST_SET_C);
    double warm_c = s->wet_bulb_c + 5.0;
    s->basin_c = MAX(LEAST_ENTERING_C, warm_c);
    s->tower_fan = 0.7;
    follow_sensors(s, 1.0);
    read_sensors(p, s, 1);
    open_accounts(p, s);
}

INLINE double share_of(double action) { return 0.5 * (clipped(action, -1.0, 1.0) + 1.0); }

static void step(const Params *restrict p, State *restrict s, const double *restrict action) {
    s->step_j = s->step_strokes = 0.0;
    EACH_ZONE s->zone_usd[z] = 0.0;
    double follow = -expm1(-SUBSTEP_S / p->sensor_lag_s);
    double set_share = share_of(action[CHILLED_SET]);
    s->step_strokes += fabs(set_share - s->chilled_set);
    s->chilled_set = set_share;
    double reference_j = reference_w(p, s) * SUBSTEP_S * SUBSTEPS;
    for (i64 substep = 0; substep < SUBSTEPS; substep++) {
        double strokes = 0.0;
        EACH_ZONE {
            double fan = LEAST_FAN + (1.0 - LEAST_FAN) * share_of(action[FAN + z]);
            double travelled = move_actuators(p, s, z, fan, share_of(action[VALVE + z]), SUBSTEP_S);
            strokes += travelled;
            s->zone_usd[z] -= p->stroke_usd * travelled;
        }
        if (strokes > 0.0 || substep == 0) update_handlers(p, s);
        double before = s->tower_fan;
        double wanted = LEAST_FAN + (1.0 - LEAST_FAN) * share_of(action[TOWER_FAN_WANTED]);
        s->tower_fan = moved(before, wanted, SUBSTEP_S / p->fan_slew_s);
        s->step_strokes += strokes + fabs(s->tower_fan - before);
        move_hall_and_plant(p, s);
        follow_sensors(s, follow);
        meter(p, s);
    }
    shift_shares(p, s);
    move_site(p, s);
    EACH_ZONE s->busy_share[z] = busy_share(s->utilisation[z]);
    read_sensors(p, s, 0);
    settle(p, s, reference_j);
}

static void observe(const State *s, float *restrict out) {
    EACH_ZONE {
        double watts = (s->cpu_w[z] + s->server_fan_w[z]) / 1e3, through = s->server_kg_per_s[z];
        double airs = through > 0.0 ? s->air_kg_per_s[z] / through : 0.0;
        out[z] = clipped(s->read_c[SUPPLY_SENSOR][z], 0.0, 60.0);
        out[ZONES + z] = clipped(s->read_c[INLET][z], 0.0, 60.0);
        out[2 * ZONES + z] = clipped(s->read_c[HOT][z], 0.0, 90.0);
        out[3 * ZONES + z] = s->utilisation[z];
        out[4 * ZONES + z] = MIN(watts, 600.0);
        out[5 * ZONES + z] = s->fan[z];
        out[6 * ZONES + z] = clipped(s->valve[z], 0.0, 1.0);
        out[7 * ZONES + z] = MIN(airs, 10.0);
    }
    out += PER_ZONE * ZONES;
    out[0] = clipped(s->chilled_c, 0.0, 60.0);
    out[1] = clipped(s->chilled_return_c, 0.0, 90.0);
    out[2] = clipped(s->basin_c, 0.0, 60.0);
    out[3] = MIN(s->load, 1.2);
    double cooling = (s->power_w[HANDLER_FAN] + s->power_w[PUMP] + s->power_w[TOWER_FAN] + s->power_w[COMPRESSOR]) / 1e3;
    out[4] = MIN(cooling, 1500.0);
    out += OF_PLANT;
    out[0] = s->dry_bulb_c;
    out[1] = s->wet_bulb_c;
    out += OF_WEATHER;
    double hour = 2.0 * M_PI * (s->minute % DAY_MIN) / DAY_MIN;
    double year = 2.0 * M_PI * fmod((double)(s->first_day + s->minute / DAY_MIN), YEAR_D) / YEAR_D;
    out[0] = sin(hour);
    out[1] = cos(hour);
    out[2] = sin(year);
    out[3] = cos(year);
}

static void kpis(const Params *restrict p, const State *s, double *restrict out) {
    double total = 0.0;
    for (i64 consumer = 0; consumer < CONSUMERS; consumer++) {
        total += s->energy_j[consumer];
        out[6 + consumer] = s->energy_j[consumer] / J_PER_KWH;
    }
    double it = s->energy_j[CPU] + s->energy_j[SERVER_FAN];
    double cooling = s->energy_j[HANDLER_FAN] + s->energy_j[PUMP] + s->energy_j[TOWER_FAN] + s->energy_j[COMPRESSOR];
    double gained = stored_heat_j(p, s) - s->first_heat_j;
    double first[] = {
        total / it, total / s->energy_j[CPU], it / s->energy_j[CPU], total / J_PER_KWH, it / J_PER_KWH, cooling / J_PER_KWH,
    };
    double rest[] = {
        s->over_recommended_k_min, s->under_recommended_k_min, s->over_allowable_k_min, s->rate_events, s->max_inlet_c,
        s->strokes, s->water_kg, KG_CO2_PER_KWH * total / J_PER_KWH, s->wet_bulb_k_min / s->minute,
        (gained - s->heat_in_j + s->heat_out_j) / s->heat_in_j, s->return_usd, it / (60.0 * s->minute) / 1e3,
    };
    memcpy(out, first, sizeof first);
    memcpy(out + 14, rest, sizeof rest);
}

/* Step every row as the compiled loop of the package does with NEXT_STEP autoreset; takes its table of addresses. */
i64 step_rows(const u64 *table, const double *actions) {
    i64 n = (i64)table[0], ended = 0;
    Params *params = (Params *)table[TABLE_PARAMS], *base = (Params *)table[TABLE_BASE];
    State *state = (State *)table[TABLE_STATE];
    float *obs = (float *)table[TABLE_OBS];
    double *reward = (double *)table[TABLE_REWARD];
    uint8_t *terminated = (uint8_t *)table[TABLE_TERMINATED], *truncated = (uint8_t *)table[TABLE_TRUNCATED];
    double *terms = (double *)table[TABLE_TERMS], *figures = (double *)table[TABLE_KPIS];
    uint8_t *shown = (uint8_t *)table[TABLE_ENDED];
    for (i64 i = 0; i < n; i++) {
        Params *p = params + i;
        State *s = state + i;
        double total = 0.0;
        int ends = 0;
        if (s->terminated | s->truncated) {
            u64 seed = s->seed;
            i64 episode = s->episode + 1;
            memset(s, 0, sizeof *s);
            s->seed = seed;
            s->episode = episode;
            s->key = episode_key(seed, episode);
            *p = base[i];
            reset(p, s);
        } else {
            for (i64 term = 0; term < TERMS; term++) s->terms[term] = 0.0;
            step(p, s, actions + i * ACTION);
            s->steps += 1;
            for (i64 term = 0; term < TERMS; term++) total += s->terms[term];
            ends = s->terminated | s->truncated;
            if (ends) {
                ended++;
                kpis(p, s, figures + i * FIGURES);
            }
        }
        if (shown[i] && !ends) memset(figures + i * FIGURES, 0, FIGURES * sizeof *figures);
        shown[i] = ends;
        reward[i] = total;
        for (i64 term = 0; term < TERMS; term++) terms[TERMS * i + term] = s->terms[term];
        terminated[i] = s->terminated;
        truncated[i] = s->truncated;
        observe(s, obs + i * WIDTH);
    }
    return ended;
}
