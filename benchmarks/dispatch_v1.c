/* Dispatch v1 in C, statement by statement: what a compiler of C makes of the same kernel.
 *
 * The layout of records, the constants and the tables come from the generated header, which kernel_c.py writes from the Python
 * modules. A user's table of bookings is left out; bookings are drawn from the parameters.
 */
#include GENERATED

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Python's min and max: the first argument unless the second is strictly beyond. */
#define MIN(a, b) ((b) < (a) ? (b) : (a))
#define MAX(a, b) ((b) > (a) ? (b) : (a))

typedef int64_t i64;
typedef uint64_t u64;

static inline double clipped(double x, double low, double high) {
    double raised = MAX(x, low);
    return MIN(raised, high);
}

/* --- random draws ----------------------------------------------------------------------------------- */

static inline u64 mixed(u64 word) {
    u64 z = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static const u64 GOLDEN = 0x9E3779B97F4A7C15u, STEP = 0xD1B54A32D192ED03u, SECOND = 0x632BE59BD9B4E019u;

static inline u64 episode_key(u64 seed, i64 episode) { return mixed(mixed(seed + GOLDEN) + (u64)episode * STEP); }

static inline u64 stream_key(u64 key, i64 step, i64 stream) {
    return mixed(mixed(key + (u64)stream * GOLDEN) + (u64)step * STEP);
}

static inline double uniform_of(u64 h, i64 entity) {
    return (double)(mixed(h + (u64)entity * GOLDEN + STEP) >> 11) * 0x1p-53 + 0x1p-54;
}

static inline double uniform(const State *s, i64 stream, i64 entity) {
    return uniform_of(stream_key(s->key, 0, stream), entity);
}

static inline double normal(const State *s, i64 stream, i64 entity) {
    u64 h = stream_key(s->key, 0, stream);
    double radius = sqrt(-2.0 * log(uniform_of(h, entity)));
    return radius * cos(2.0 * M_PI * uniform_of(h ^ SECOND, entity));
}

/* --- streets ---------------------------------------------------------------------------------------- */

static inline double road_km(const Params *p, double x0, double y0, double x1, double y1) {
    return p->circuity * sqrt((x1 - x0) * (x1 - x0) + (y1 - y0) * (y1 - y0));
}

static inline i64 quarter_at(double t_min) {
    i64 q = (i64)(t_min * (1.0 / QUARTER_MIN));
    q = MAX(q, 0);
    return MIN(q, QUARTERS - 1);
}

static inline double reach_at(const double *speed, const double *reach, double t_min) {
    i64 q = quarter_at(t_min);
    return reach[q] + speed[q] * (t_min - QUARTER_MIN * q);
}

static inline double time_at(const double *speed, const double *reach, double target_km, i64 q) {
    while (q < QUARTERS - 1 && reach[q + 1] < target_km) q++;
    return QUARTER_MIN * q + (target_km - reach[q]) / speed[q];
}

static double arrival_min(const State *s, double depart_min, double km) {
    double target_km = reach_at(s->speed_km_per_min, s->reach_km, depart_min) + km;
    double t = time_at(s->speed_km_per_min, s->reach_km, target_km, quarter_at(depart_min));
    return MAX(depart_min, t);
}

static double expected_arrival_min(const State *s, double depart_min, double km) {
    double target_km = reach_at(s->expected_speed_km_per_min, s->expected_reach_km, depart_min) + km;
    double t = time_at(s->expected_speed_km_per_min, s->expected_reach_km, target_km, quarter_at(depart_min));
    return MAX(depart_min, t);
}

static double expected_departure_min(const State *s, double arrive_min, double km) {
    double target_km = reach_at(s->expected_speed_km_per_min, s->expected_reach_km, arrive_min) - km;
    if (target_km <= 0.0) return 0.0;
    double t = time_at(s->expected_speed_km_per_min, s->expected_reach_km, target_km, 0);
    return MIN(arrive_min, t);
}

static double leg_factor(const Params *p, const State *s, i64 from_stop, i64 to_stop) {
    double sd = p->leg_noise_sd;
    return exp(sd * normal(s, LEG_NOISE, from_stop * 4096 + to_stop) - 0.5 * sd * sd);
}

static inline double demand_rate(const Params *p, double t_min) {
    if (t_min < 0.0 || t_min >= HORIZON_MIN) return 0.0;
    return p->demand_per_day * DEMAND_SHARE[p->demand_profile][(i64)(t_min * (1.0 / 60.0))] * (1.0 / 60.0);
}

/* --- a day ------------------------------------------------------------------------------------------ */

static void draw_traffic(const Params *p, State *s) {
    double sd = p->traffic_day_sd;
    s->traffic_factor = exp(sd * normal(s, TRAFFIC_DAY, 0) - 0.5 * sd * sd);
    double variance = p->congestion_sd * p->congestion_sd / (1.0 - p->congestion_rho * p->congestion_rho);
    double log_pace = sqrt(variance) * normal(s, CONGESTION, 0);
    s->reach_km[0] = 0.0;
    s->expected_reach_km[0] = 0.0;
    for (i64 q = 0; q < QUARTERS; q++) {
        if (q > 0) log_pace = p->congestion_rho * log_pace + p->congestion_sd * normal(s, CONGESTION, q);
        double expected = p->base_speed_kmh / 60.0 * SPEED_SHAPE[p->demand_profile][q / 4];
        double real = expected / (s->traffic_factor * exp(log_pace - 0.5 * variance));
        s->congestion[q] = log_pace;
        s->expected_speed_km_per_min[q] = expected;
        s->speed_km_per_min[q] = real;
        s->expected_reach_km[q + 1] = s->expected_reach_km[q] + QUARTER_MIN * expected;
        s->reach_km[q + 1] = s->reach_km[q] + QUARTER_MIN * real;
    }
}

static double band_share(const Params *p, double centre_km, i64 band) {
    double low = p->area_half_width_km * (0.5 * band - 1.0) - centre_km;
    double high = low + 0.5 * p->area_half_width_km;
    double scale = 1.0 / (sqrt(2.0) * HOT_SPOT_SD_KM);
    double below = band == 0 ? -1.0 : erf(low * scale);
    double above = band == 3 ? 1.0 : erf(high * scale);
    return 0.5 * (above - below);
}

static void write_zone_shares(const Params *p, State *s) {
    for (i64 zone = 0; zone < ZONES; zone++) s->zone_share[zone] = (1.0 - 0.5 * p->hotspot_share) / ZONES;
    double weight = 0.5 * p->hotspot_share / p->hotspots;
    for (i64 spot = 0; spot < p->hotspots; spot++) {
        double x_km = HOT_SPOTS[spot][0] * p->area_half_width_km, y_km = HOT_SPOTS[spot][1] * p->area_half_width_km;
        for (i64 north = 0; north < 4; north++) {
            double row = weight * band_share(p, y_km, north);
            for (i64 east = 0; east < 4; east++) s->zone_share[4 * north + east] += row * band_share(p, x_km, east);
        }
    }
}

static i64 poisson(double u, double mean) {
    i64 count = 0;
    double probability = exp(-mean), cumulated = probability;
    while (u > cumulated && count < PER_HOUR - 1) {
        count++;
        probability *= mean / count;
        cumulated += probability;
    }
    return count;
}

static inline double asked_min_of(const State *s, i64 entity) {
    return 60.0 * (entity / PER_HOUR + uniform(s, ASKED, entity));
}

static inline int is_prebooked(const Params *p, const State *s, i64 entity) {
    return uniform(s, PREBOOKED, entity) < p->prebook_share;
}

static inline double reveal_min_of(const Params *p, const State *s, i64 entity) {
    double asked_min = asked_min_of(s, entity);
    if (!is_prebooked(p, s, entity)) return asked_min;
    double shown_min = asked_min - p->window_half_min - p->lookahead_min;
    return MAX(0.0, shown_min);
}

static void draw_trip(const Params *p, State *s, i64 i, i64 g, double asked_min) {
    double half_km = p->area_half_width_km;
    double z = normal(s, LENGTH, g);
    double km = exp(LENGTH_LOG_MEAN[p->demand_profile] + LENGTH_LOG_SD[p->demand_profile] * z);
    km = MIN(km, 2.0 * half_km);
    int hot = uniform(s, HOT, g) < p->hotspot_share;
    double x = 0.0, y = 0.0, east = 0.0, north = 0.0;
    if (hot) {
        i64 spot = (i64)(uniform(s, HOT_SPOT, g) * p->hotspots);
        x = HOT_SPOTS[spot][0] * half_km + HOT_SPOT_SD_KM * normal(s, ANCHOR_X, g);
        y = HOT_SPOTS[spot][1] * half_km + HOT_SPOT_SD_KM * normal(s, ANCHOR_Y, g);
    }
    for (i64 attempt = 0; attempt < HEADINGS; attempt++) {
        double angle = 2.0 * M_PI * uniform(s, HEADING, g * HEADINGS + attempt);
        east = km * cos(angle);
        north = km * sin(angle);
        if (!hot || (fabs(x + east) <= half_km && fabs(y + north) <= half_km)) break;
    }
    double west_km = -half_km + MAX(0.0, -east), east_km = half_km - MAX(0.0, east);
    double south_km = -half_km + MAX(0.0, -north), north_km = half_km - MAX(0.0, north);
    if (hot) {
        x = clipped(x, west_km, east_km);
        y = clipped(y, south_km, north_km);
    } else {
        x = west_km + (east_km - west_km) * uniform(s, ANCHOR_X, g);
        y = south_km + (north_km - south_km) * uniform(s, ANCHOR_Y, g);
    }
    int swap = uniform(s, SWAPPED, g) < 0.5;
    if (uniform(s, DIRECTED, g) < p->directional_am) {
        int inwards = (x + east) * (x + east) + (y + north) * (y + north) < x * x + y * y;
        if (MORNING_MIN[0] <= asked_min && asked_min < MORNING_MIN[1])
            swap = !inwards;
        else if (AFTERNOON_MIN[0] <= asked_min && asked_min < AFTERNOON_MIN[1])
            swap = inwards;
    }
    if (swap) {
        x = x + east;
        y = y + north;
        east = -east;
        north = -north;
    }
    s->bookings[i].pickup_x_km = x;
    s->bookings[i].pickup_y_km = y;
    s->bookings[i].dropoff_x_km = x + east;
    s->bookings[i].dropoff_y_km = y + north;
}

static void draw_booking(const Params *p, State *s, i64 i) {
    i64 g = s->bookings[i].entity;
    double asked_min = asked_min_of(s, g);
    if (is_prebooked(p, s, g)) {
        s->bookings[i].prebooked = 1;
        s->bookings[i].earliest_min = MAX(0.0, asked_min - p->window_half_min);
        s->bookings[i].latest_min = asked_min + p->window_half_min;
    } else {
        s->bookings[i].prebooked = 0;
        s->bookings[i].earliest_min = asked_min;
        s->bookings[i].latest_min = asked_min + 2.0 * p->window_half_min;
    }
    draw_trip(p, s, i, g, asked_min);
    int companion = uniform(s, COMPANION, g) < p->party2_share ? 1 : 0;
    s->bookings[i].wheelchair = uniform(s, WHEELCHAIR_STREAM, g) < p->wc_share ? 1 : 0;
    s->bookings[i].ambulatory = s->bookings[i].wheelchair ? companion : 1 + companion;
}

static void draw_bookings(const Params *p, State *s) {
    i64 n = 0;
    for (i64 hour = 0; hour < HOURS; hour++) {
        double mean = p->demand_per_day * s->demand_factor * DEMAND_SHARE[p->demand_profile][hour];
        i64 count = poisson(uniform(s, COUNT, hour), mean);
        for (i64 number = 0; number < count; number++) {
            if (n == MAX_BOOKINGS) {
                s->n_clipped += count - number;
                break;
            }
            i64 entity = hour * PER_HOUR + number, i = n;
            double reveal_min = reveal_min_of(p, s, entity);
            while (i > 0 && s->bookings[i - 1].reveal_min > reveal_min) {
                s->bookings[i].reveal_min = s->bookings[i - 1].reveal_min;
                s->bookings[i].entity = s->bookings[i - 1].entity;
                i--;
            }
            s->bookings[i].reveal_min = reveal_min;
            s->bookings[i].entity = entity;
            n++;
        }
    }
    s->n_bookings = n;
    for (i64 i = 0; i < n; i++) draw_booking(p, s, i);
}

static void draw_behaviour(const Params *p, State *s, i64 i) {
    i64 g = s->bookings[i].entity;
    int wheelchair = s->bookings[i].wheelchair > 0;
    double board_min = wheelchair ? p->board_wc_min : p->board_amb_min;
    double alight_min = wheelchair ? p->alight_wc_min : p->alight_amb_min;
    double cv = wheelchair ? BOARD_CV_WC : BOARD_CV_AMB;
    double log_variance = log(1.0 + cv * cv), sd = sqrt(log_variance);
    s->bookings[i].board_min = board_min * exp(sd * normal(s, BOARD, g) - 0.5 * log_variance);
    s->bookings[i].alight_min = alight_min * exp(sd * normal(s, ALIGHT, g) - 0.5 * log_variance);
    s->bookings[i].no_show = uniform(s, NO_SHOWS, g) < p->no_show ? 1 : 0;
    s->bookings[i].cancel_min = INFINITY;
    if (uniform(s, CANCELS, g) < p->late_cancel) {
        double notice_min = LATE_CANCEL_MIN;
        if (!s->bookings[i].prebooked) {
            double known_min = s->bookings[i].latest_min - s->bookings[i].reveal_min;
            notice_min = MIN(notice_min, known_min);
        }
        s->bookings[i].cancel_min = s->bookings[i].latest_min - notice_min * uniform(s, CANCEL_TIME, g);
    }
    s->bookings[i].expires_min = s->bookings[i].latest_min + p->patience_min;
    double km = road_km(p, s->bookings[i].pickup_x_km, s->bookings[i].pickup_y_km, s->bookings[i].dropoff_x_km, s->bookings[i].dropoff_y_km);
    s->bookings[i].direct_min = expected_arrival_min(s, s->bookings[i].earliest_min, km) - s->bookings[i].earliest_min;
    s->bookings[i].status = HIDDEN;
    s->bookings[i].vehicle = -1;
    s->bookings[i].picked_min = NAN;
    s->bookings[i].dropped_min = NAN;
}

static void draw_city(const Params *p, State *s) {
    s->now_min = 0.0;
    s->next_booking = 0;
    s->n_clipped = 0;
    draw_traffic(p, s);
    write_zone_shares(p, s);
    double log_variance = log(1.0 + p->demand_day_cv * p->demand_day_cv);
    double z = normal(s, DEMAND_DAY, 0);
    double factor = exp(sqrt(log_variance) * z - 0.5 * log_variance), most = MAX_DEMAND_PER_DAY / p->demand_per_day;
    s->demand_factor = MIN(factor, most);
    draw_bookings(p, s);
    for (i64 i = 0; i < s->n_bookings; i++) draw_behaviour(p, s, i);
}

/* --- the list of open bookings and its slots -------------------------------------------------------- */

static inline i64 fleet(const Params *p) { return MIN(VEHICLES, p->n_vehicles); }
static inline double mean_board_min(const Params *p, int wc) { return wc ? p->board_wc_min : p->board_amb_min; }
static inline double mean_alight_min(const Params *p, int wc) { return wc ? p->alight_wc_min : p->alight_amb_min; }

static inline void miss(const Params *p, State *s, i64 b) {
    s->bookings[b].status = MISSED;
    s->missed += 1;
    s->terms[MISS] -= p->miss_cost_usd;
}

static inline void lose(const Params *p, State *s, i64 b) {
    s->n_resolved += 1;
    if (s->bookings[b].cancel_min <= s->bookings[b].expires_min) {
        s->bookings[b].status = CANCELLED;
        s->cancelled += 1;
    } else {
        miss(p, s, b);
    }
}

static inline void move_slot(State *s, i64 to, i64 k) {
    for (i64 row = 0; row < SLOT_ROWS; row++) s->slot[row][to] = s->slot[row][k];
    for (i64 column = SEEN_SLOTS; column < SEEN; column += SLOTS) s->seen[column + to] = s->seen[column + k];
}

static inline void clear_slot(State *s, i64 k) {
    for (i64 row = 0; row < SLOT_ROWS; row++) s->slot[row][k] = 0.0;
    for (i64 column = SEEN_SLOTS; column < SEEN; column += SLOTS) s->seen[column + k] = 0.0f;
}

static void fill_slot(const Params *p, State *s, i64 k, i64 b) {
    s->slot[PICKUP_X][k] = s->bookings[b].pickup_x_km;
    s->slot[PICKUP_Y][k] = s->bookings[b].pickup_y_km;
    s->slot[EARLIEST][k] = s->bookings[b].earliest_min;
    s->slot[LATEST][k] = s->bookings[b].latest_min;
    s->slot[EXPIRES][k] = s->bookings[b].expires_min;
    s->slot[AMBULATORY][k] = s->bookings[b].ambulatory;
    s->slot[WHEELCHAIR][k] = s->bookings[b].wheelchair;
    double per_km = 1.0 / p->area_half_width_km;
    i64 at = SEEN_SLOTS + k;
    s->seen[at] = clipped(s->bookings[b].pickup_x_km * per_km, -1.0, 1.0);
    s->seen[at + 8] = clipped(s->bookings[b].pickup_y_km * per_km, -1.0, 1.0);
    s->seen[at + 16] = clipped(s->bookings[b].dropoff_x_km * per_km, -1.0, 1.0);
    s->seen[at + 24] = clipped(s->bookings[b].dropoff_y_km * per_km, -1.0, 1.0);
    s->seen[at + 56] = MIN(s->bookings[b].direct_min * PER_HOUR_MIN, 1.0);
    s->seen[at + 64] = MIN(s->bookings[b].ambulatory * PER_PLACE, 1.0);
    s->seen[at + 72] = MIN(s->bookings[b].wheelchair * PER_PLACE, 1.0);
    s->seen[at + 80] = s->bookings[b].prebooked;
    s->seen[at + 88] = 1.0;
}

static void insert_open(const Params *p, State *s, i64 b) {
    i64 at = s->n_open;
    while (at > 0 && s->bookings[s->open_booking[at - 1]].latest_min > s->bookings[b].latest_min) {
        s->open_booking[at] = s->open_booking[at - 1];
        at--;
    }
    s->open_booking[at] = b;
    for (i64 k = MIN(s->n_open, SLOTS - 1); k > at; k--) move_slot(s, k, k - 1);
    if (at < SLOTS) fill_slot(p, s, at, b);
    s->n_open += 1;
}

static void remove_open(const Params *p, State *s, i64 at) {
    s->n_open -= 1;
    for (i64 i = at; i < s->n_open; i++) s->open_booking[i] = s->open_booking[i + 1];
    for (i64 k = at; k < MIN(s->n_open, SLOTS - 1); k++) move_slot(s, k, k + 1);
    if (at < SLOTS) {
        if (s->n_open >= SLOTS)
            fill_slot(p, s, SLOTS - 1, s->open_booking[SLOTS - 1]);
        else
            clear_slot(s, s->n_open);
    }
}

static void reveal(const Params *p, State *s) {
    i64 first = s->next_booking;
    while (s->next_booking < s->n_bookings && s->bookings[s->next_booking].reveal_min <= s->now_min) {
        i64 i = s->next_booking;
        s->bookings[i].status = s->bookings[i].cancel_min <= s->bookings[i].reveal_min ? CANCELLED : OPEN;
        s->next_booking = i + 1;
    }
    i64 minute = (i64)s->now_min % RECENT_MIN;
    for (i64 b = first; b < s->next_booking; b++) {
        if (s->bookings[b].status == OPEN) {
            insert_open(p, s, b);
            s->requests += 1;
            s->requests_by_minute[minute] += 1;
            s->next_cancel_min = MIN(s->next_cancel_min, s->bookings[b].cancel_min);
        } else {
            s->cancelled += 1;
            s->n_resolved += 1;
        }
    }
    s->next_reveal_min = s->next_booking < s->n_bookings ? s->bookings[s->next_booking].reveal_min : INFINITY;
}

static void cancel_open(const Params *p, State *s) {
    s->next_cancel_min = INFINITY;
    for (i64 at = s->n_open - 1; at >= 0; at--) {
        i64 b = s->open_booking[at];
        if (s->bookings[b].cancel_min <= s->now_min) {
            remove_open(p, s, at);
            lose(p, s, b);
        } else {
            s->next_cancel_min = MIN(s->next_cancel_min, s->bookings[b].cancel_min);
        }
    }
}

typedef struct { double speed, rest_km; } Road; /* expected speed, and what is driven at it before it changes */

static Road road_now(const State *s) {
    i64 quarter = (i64)(s->now_min * (1.0 / QUARTER_MIN));
    quarter = MIN(quarter, QUARTERS - 1);
    double speed = s->expected_speed_km_per_min[quarter];
    return (Road){speed, speed * (QUARTER_MIN * (quarter + 1) - s->now_min)};
}

static inline double pickup_min(const Params *p, const State *s, i64 v, i64 k, Road road) {
    double km = road_km(p, s->x_km[v], s->y_km[v], s->slot[PICKUP_X][k], s->slot[PICKUP_Y][k]);
    return km <= road.rest_km ? s->now_min + km / road.speed : expected_arrival_min(s, s->now_min, km);
}

static void write_legal(const Params *p, State *s) {
    if (s->n_legal > 0) {
        for (i64 pair = 0; pair < PAIRS; pair++) s->pair_legal[pair] = 0;
        s->n_legal = 0;
    }
    if (s->n_idle == 0 || s->n_open == 0) return;
    Road road = road_now(s);
    i64 shown = MIN(s->n_open, SLOTS);
    for (i64 v = 0; v < VEHICLES; v++) {
        if (s->mode[v] != IDLE) continue;
        for (i64 k = 0; k < shown; k++) {
            if (s->slot[AMBULATORY][k] > p->cap_amb || s->slot[WHEELCHAIR][k] > p->cap_wc) continue;
            if (pickup_min(p, s, v, k, road) <= s->slot[EXPIRES][k]) {
                s->pair_legal[VEHICLES * k + v] = 1;
                s->n_legal += 1;
            }
        }
    }
}

static void show_vehicle(const Params *p, State *s, i64 v) {
    double per_km = 1.0 / p->area_half_width_km;
    i64 at = v, mode = s->mode[v];
    s->seen[at] = clipped(s->x_km[v] * per_km, -1.0, 1.0);
    s->seen[at + 8] = clipped(s->y_km[v] * per_km, -1.0, 1.0);
    s->seen[at + 16] = clipped(s->free_x_km[v] * per_km, -1.0, 1.0);
    s->seen[at + 24] = clipped(s->free_y_km[v] * per_km, -1.0, 1.0);
    at = SEEN_MODE + v;
    s->seen[at] = mode == IDLE ? 1.0 : 0.0;
    s->seen[at + 8] = mode == HOLDING || mode == TO_PICKUP ? 1.0 : 0.0;
    s->seen[at + 16] = mode == AT_PICKUP ? 1.0 : 0.0;
    s->seen[at + 24] = mode == RIDING || mode == ALIGHTING ? 1.0 : 0.0;
    s->seen[at + 32] = mode == VOID ? 1.0 : 0.0;
}

/* --- a vehicle's errand ----------------------------------------------------------------------------- */

static double expected_free_min(const Params *p, const State *s, i64 b, double arrive_min) {
    int wheelchair = s->bookings[b].wheelchair > 0;
    double leave_min = MAX(arrive_min, s->bookings[b].earliest_min) + mean_board_min(p, wheelchair);
    double km = road_km(p, s->bookings[b].pickup_x_km, s->bookings[b].pickup_y_km, s->bookings[b].dropoff_x_km, s->bookings[b].dropoff_y_km);
    return expected_arrival_min(s, leave_min, km) + mean_alight_min(p, wheelchair);
}

static double leave(const Params *p, State *s, i64 v, double depart_min, double x_km, double y_km, i64 stop) {
    double km = road_km(p, s->x_km[v], s->y_km[v], x_km, y_km);
    s->to_x_km[v] = x_km;
    s->to_y_km[v] = y_km;
    s->to_stop[v] = stop;
    s->depart_min[v] = depart_min;
    s->arrive_min[v] = arrival_min(s, depart_min, km * leg_factor(p, s, s->stop[v], stop));
    s->expected_min[v] = expected_arrival_min(s, depart_min, km);
    s->km += km;
    s->terms[DISTANCE] -= p->km_cost_usd * km;
    return km;
}

static void arrive(State *s, i64 v) {
    s->x_km[v] = s->to_x_km[v];
    s->y_km[v] = s->to_y_km[v];
    s->stop[v] = s->to_stop[v];
    double expected_min = s->expected_min[v] - s->depart_min[v];
    if (expected_min >= PACE_LEAST_MIN) {
        double pace = (s->arrive_min[v] - s->depart_min[v]) / expected_min;
        s->pace += PACE_WEIGHT * (pace - s->pace);
    }
}

static void become_idle(State *s, i64 v, double now_min) {
    s->mode[v] = IDLE;
    s->booking[v] = -1;
    s->n_idle += 1;
    s->event_min[v] = INFINITY;
    s->free_x_km[v] = s->x_km[v];
    s->free_y_km[v] = s->y_km[v];
    s->free_min[v] = now_min;
    s->busy_min += now_min - s->busy_from_min[v];
}

static void begin_pickup(const Params *p, State *s, i64 v, i64 b, double now_min) {
    s->mode[v] = AT_PICKUP;
    s->start_min[v] = MAX(now_min, s->bookings[b].earliest_min);
    s->free_min[v] = expected_free_min(p, s, b, now_min);
    if (s->bookings[b].cancel_min < s->start_min[v])
        s->event_min[v] = s->bookings[b].cancel_min;
    else if (s->bookings[b].no_show)
        s->event_min[v] = s->start_min[v] + p->no_show_wait_min;
    else
        s->event_min[v] = s->start_min[v] + s->bookings[b].board_min;
}

static void end_pickup(const Params *p, State *s, i64 v, i64 b, double now_min) {
    if (now_min < s->start_min[v] || s->bookings[b].no_show) {
        int cancelled = now_min < s->start_min[v];
        s->bookings[b].status = cancelled ? CANCELLED : NO_SHOW;
        s->cancelled += cancelled;
        s->no_shows += !cancelled;
        s->n_resolved += 1;
        s->wasted_legs += 1;
        become_idle(s, v, now_min);
        return;
    }
    double late_min = clipped(s->start_min[v] - s->bookings[b].latest_min, 0.0, LATE_CAP_MIN);
    s->late_min += late_min;
    s->terms[LATENESS] -= p->late_cost_usd_per_min * late_min;
    s->bookings[b].status = ONBOARD;
    s->bookings[b].picked_min = now_min;
    double km = leave(p, s, v, now_min, s->bookings[b].dropoff_x_km, s->bookings[b].dropoff_y_km, 2 * b + 1);
    s->loaded_km += km;
    s->rider_km += km * (s->bookings[b].ambulatory + s->bookings[b].wheelchair);
    s->mode[v] = RIDING;
    s->event_min[v] = s->arrive_min[v];
    s->free_min[v] = s->expected_min[v] + mean_alight_min(p, s->bookings[b].wheelchair > 0);
}

static void next_event(const Params *p, State *s, i64 v) {
    i64 b = s->booking[v], mode = s->mode[v];
    double now_min = s->event_min[v];
    if (mode == HOLDING) {
        if (s->bookings[b].cancel_min <= s->depart_min[v]) {
            lose(p, s, b);
            become_idle(s, v, now_min);
        } else {
            leave(p, s, v, now_min, s->bookings[b].pickup_x_km, s->bookings[b].pickup_y_km, 2 * b);
            s->mode[v] = TO_PICKUP;
            double gone_min = MIN(s->arrive_min[v], s->bookings[b].cancel_min);
            s->event_min[v] = MIN(gone_min, s->bookings[b].expires_min);
        }
    } else if (mode == TO_PICKUP) {
        if (s->arrive_min[v] <= now_min) {
            arrive(s, v);
            begin_pickup(p, s, v, b, now_min);
        } else {
            lose(p, s, b);
            s->wasted_legs += 1;
            s->mode[v] = VOID;
            s->event_min[v] = s->arrive_min[v];
            s->free_x_km[v] = s->to_x_km[v];
            s->free_y_km[v] = s->to_y_km[v];
            s->free_min[v] = s->expected_min[v];
        }
    } else if (mode == AT_PICKUP) {
        end_pickup(p, s, v, b, now_min);
    } else if (mode == RIDING) {
        arrive(s, v);
        double limit_min = MAX(p->ride_limit_min, p->ride_limit_factor * s->bookings[b].direct_min);
        double over_min = now_min - s->bookings[b].picked_min - limit_min;
        double excess_min = MAX(0.0, over_min);
        s->excess_min += excess_min;
        s->terms[EXCESS_RIDE] -= p->ride_cost_usd_per_min * excess_min;
        s->mode[v] = ALIGHTING;
        s->event_min[v] = now_min + s->bookings[b].alight_min;
        s->free_min[v] = now_min + mean_alight_min(p, s->bookings[b].wheelchair > 0);
    } else if (mode == ALIGHTING) {
        s->bookings[b].status = DONE;
        s->bookings[b].dropped_min = now_min;
        s->n_resolved += 1;
        s->completed += 1;
        s->terms[FARE] += p->fare_usd;
        become_idle(s, v, now_min);
    } else {
        arrive(s, v);
        become_idle(s, v, now_min);
    }
    show_vehicle(p, s, v);
}

static void assign(const Params *p, State *s, i64 k, i64 v) {
    i64 b = s->open_booking[k];
    remove_open(p, s, k);
    s->n_idle -= 1;
    s->bookings[b].status = ASSIGNED;
    s->bookings[b].vehicle = v;
    s->booking[v] = b;
    s->busy_from_min[v] = s->now_min;
    double km = road_km(p, s->x_km[v], s->y_km[v], s->bookings[b].pickup_x_km, s->bookings[b].pickup_y_km);
    double soon_min = expected_departure_min(s, s->bookings[b].earliest_min, km);
    double depart_min = MAX(s->now_min, soon_min);
    s->depart_min[v] = depart_min;
    s->free_x_km[v] = s->bookings[b].dropoff_x_km;
    s->free_y_km[v] = s->bookings[b].dropoff_y_km;
    s->free_min[v] = expected_free_min(p, s, b, expected_arrival_min(s, depart_min, km));
    s->mode[v] = HOLDING;
    s->event_min[v] = MIN(depart_min, s->bookings[b].cancel_min);
    if (s->event_min[v] <= s->now_min)
        next_event(p, s, v);
    else
        show_vehicle(p, s, v);
}

/* --- the four verbs --------------------------------------------------------------------------------- */

static void reset(const Params *p, State *s) {
    draw_city(p, s);
    s->pace = 1.0;
    for (i64 v = 0; v < VEHICLES; v++) {
        s->mode[v] = v < fleet(p) ? IDLE : OFF;
        s->booking[v] = -1;
        s->stop[v] = 2 * MAX_BOOKINGS + v;
        s->event_min[v] = INFINITY;
        show_vehicle(p, s, v);
    }
    s->n_idle = fleet(p);
    s->next_cancel_min = INFINITY;
    s->next_reveal_min = s->n_bookings > 0 ? s->bookings[0].reveal_min : INFINITY;
    reveal(p, s);
    write_legal(p, s);
}

static void advance(const Params *p, State *s) {
    s->now_min += 1.0;
    i64 minute = (i64)s->now_min % RECENT_MIN;
    s->requests -= s->requests_by_minute[minute];
    s->requests_by_minute[minute] = 0;
    if (s->next_reveal_min <= s->now_min) reveal(p, s);
    if (s->next_cancel_min <= s->now_min) cancel_open(p, s);
    while (s->n_open > 0 && s->slot[EXPIRES][0] <= s->now_min) {
        i64 b = s->open_booking[0];
        remove_open(p, s, 0);
        lose(p, s, b);
    }
    for (i64 v = 0; v < VEHICLES; v++)
        while (s->event_min[v] <= s->now_min) next_event(p, s, v);
    if (s->now_min >= HORIZON_MIN && s->n_resolved == s->n_bookings) {
        s->terminated = 1;
    } else if (s->now_min >= END_MIN) {
        s->truncated = 1;
        for (i64 b = 0; b < s->n_bookings; b++)
            if (s->bookings[b].status <= ONBOARD) {
                miss(p, s, b);
                s->n_resolved += 1;
            }
    }
}

static void step(const Params *p, State *s, i64 action) {
    if (0 <= action && action < PAIRS && s->pair_legal[action]) {
        s->dt_min = 0.0;
        assign(p, s, action / VEHICLES, action % VEHICLES);
    } else {
        s->dt_min = 1.0;
        if (action != ADVANCE) s->illegal += 1;
        advance(p, s);
    }
    for (i64 term = 0; term < 5; term++) s->return_usd += s->terms[term];
    write_legal(p, s);
}

static void observe_pairs(const Params *p, const State *s, float *restrict out) {
    Road road = road_now(s);
    i64 shown = MIN(s->n_open, SLOTS);
    for (i64 v = 0; v < VEHICLES; v++) {
        if (s->mode[v] != IDLE) continue;
        for (i64 k = 0; k < shown; k++) {
            i64 pair = VEHICLES * k + v;
            if (!s->pair_legal[pair]) continue;
            double arrive_min = pickup_min(p, s, v, k, road);
            double eta_min = MAX(arrive_min, s->slot[EARLIEST][k]) - s->now_min;
            out[AT_ETA + pair] = MIN(eta_min * PER_HOUR_MIN, 1.0);
            out[AT_LATE + pair] = clipped((arrive_min - s->slot[LATEST][k]) * PER_LATE_MIN, 0.0, 1.0);
        }
    }
}

static void observe(const Params *p, const State *s, float *restrict out) {
    for (i64 column = AT_FLEET; column < AT_ETA; column++) out[column] = s->seen[column - AT_FLEET];
    double now_min = s->now_min;
    i64 quarter = (i64)(now_min * (1.0 / QUARTER_MIN));
    quarter = MIN(quarter, QUARTERS - 1);
    i64 later = MIN(quarter + 4, QUARTERS - 1);
    double expected = RECENT_MIN * demand_rate(p, now_min);
    out[0] = CLOCK_SIN[(i64)now_min];
    out[1] = CLOCK_COS[(i64)now_min];
    out[2] = MIN(now_min * (1.0 / END_MIN), 1.0);
    out[3] = MIN(s->n_open * PER_OPEN, 1.0);
    out[4] = clipped((s->n_open - SLOTS) * PER_OPEN, 0.0, 1.0);
    out[5] = (double)s->n_idle / fleet(p);
    out[6] = clipped(s->pace - 1.0, -1.0, 1.0);
    out[7] = MIN(s->expected_speed_km_per_min[quarter], 1.0);
    out[8] = MIN(s->expected_speed_km_per_min[later], 1.0);
    out[9] = (s->requests - expected) / (s->requests + expected + 1.0);
    out[10] = MIN(s->km * PER_FLEET_KM, 1.0);
    out[11] = MIN(s->missed * PER_MISSED, 1.0);
    for (i64 v = 0; v < VEHICLES; v++)
        out[FREE_IN + v] = clipped((s->free_min[v] - now_min) * PER_WINDOW_MIN, 0.0, 1.0);
    for (i64 row = 0; row < 3; row++) {
        i64 at = AT_TIMES + SLOTS * row;
        for (i64 k = 0; k < SLOTS; k++) {
            double minutes = s->slot[EARLIEST + row][k] - now_min;
            out[at + k] = k < s->n_open ? clipped(minutes * PER_WINDOW_MIN, -1.0, 1.0) : 0.0;
        }
    }
    for (i64 column = AT_ETA; column < WIDTH; column++) out[column] = 0.0f;
    if (s->n_legal > 0) observe_pairs(p, s, out);
}

static void mask(const State *s, int8_t *restrict out) {
    for (i64 pair = 0; pair < PAIRS; pair++) out[pair] = s->pair_legal[pair];
    out[ADVANCE] = 1;
}

/* --- key figures ------------------------------------------------------------------------------------ */

static double ratio(double a, double b) { return b > 0.0 ? a / b : 0.0; }

static int is_eligible(const State *s, i64 b) {
    return s->bookings[b].status != CANCELLED && s->bookings[b].status != NO_SHOW;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double completion_by_quartile(const State *s, const double *value, double *restrict out) {
    double ordered[MAX_BOOKINGS], least = 1.0;
    i64 n = 0;
    for (i64 b = 0; b < s->n_bookings; b++)
        if (is_eligible(s, b)) ordered[n++] = value[b];
    qsort(ordered, n, sizeof *ordered, by_size);
    for (i64 quartile = 0; quartile < 4; quartile++) {
        double low = n > 0 ? ordered[n * quartile / 4] : 0.0;
        double high = quartile < 3 && n > 0 ? ordered[n * (quartile + 1) / 4] : INFINITY;
        i64 eligible = 0, done = 0;
        for (i64 b = 0; b < s->n_bookings; b++)
            if (is_eligible(s, b) && low <= value[b] && value[b] < high) {
                eligible++;
                done += s->bookings[b].status == DONE;
            }
        out[quartile] = ratio(done, eligible);
        if (eligible > 0) least = MIN(least, out[quartile]);
    }
    return least;
}

static void kpis(const Params *p, const State *s, double *restrict out) {
    double late[MAX_BOOKINGS], length_km[MAX_BOOKINGS], distance_km[MAX_BOOKINGS];
    i64 n_late = 0, on_time_15 = 0, on_time_30 = 0, eligible_wc = 0, done_wc = 0, eligible_amb = 0, done_amb = 0;
    i64 done = 0;
    for (i64 i = 0; i < s->n_bookings; i++) {
        const Booking *b = s->bookings + i;
        length_km[i] = hypot(b->dropoff_x_km - b->pickup_x_km, b->dropoff_y_km - b->pickup_y_km);
        distance_km[i] = hypot(b->pickup_x_km, b->pickup_y_km);
        if (!is_eligible(s, i)) continue;
        int is_done = b->status == DONE;
        if (b->wheelchair > 0) {
            eligible_wc++;
            done_wc += is_done;
        } else {
            eligible_amb++;
            done_amb += is_done;
        }
        if (is_done) {
            double late_min = b->picked_min - b->board_min - b->latest_min;
            late[done] = MAX(0.0, late_min);
            n_late += late[done] > 1e-9;
            on_time_15 += late[done] <= 15.0;
            on_time_30 += late[done] < 30.0;
            done++;
        }
    }
    i64 eligible = eligible_wc + eligible_amb, at_95 = (i64)(0.95 * done);
    double sum_min = 0.0, busy_min = s->busy_min, fleet_min = fleet(p) * s->now_min;
    qsort(late, done, sizeof *late, by_size);
    for (i64 i = 0; i < done; i++) sum_min += late[i];
    for (i64 v = 0; v < VEHICLES; v++)
        if (s->mode[v] > IDLE) busy_min += s->now_min - s->busy_from_min[v];
    double trips = completion_by_quartile(s, length_km, out + 18), zones = completion_by_quartile(s, distance_km, out + 22);
    double figures[] = {
        s->n_bookings, eligible, done, ratio(done, eligible), ratio(on_time_15, eligible), ratio(on_time_30, eligible),
        ratio(n_late + eligible - done, eligible), ratio(sum_min, done), done > 0 ? late[MIN(at_95, done - 1)] : 0.0,
        ratio(s->excess_min, done), s->km, ratio(s->km, done), ratio(s->km - s->loaded_km, s->km),
        ratio(s->rider_km, s->km), ratio(60.0 * done, fleet_min), ratio(busy_min, fleet_min),
        ratio(done_amb, eligible_amb), ratio(done_wc, eligible_wc),
    };
    memcpy(out, figures, sizeof figures);
    double least = MIN(trips, zones);
    if (eligible_amb > 0) least = MIN(least, out[16]);
    if (eligible_wc > 0) least = MIN(least, out[17]);
    double rest[] = {
        least, s->missed, s->no_shows, s->cancelled, s->wasted_legs, s->illegal, s->n_clipped, s->return_usd,
        ratio(s->return_usd, s->steps), out[11], ratio(n_late, done),
    };
    memcpy(out + 26, rest, sizeof rest);
}

/* Step every row as the compiled loop of the package does with NEXT_STEP autoreset; takes its table of addresses. */
i64 step_rows(const u64 *table, const i64 *actions) {
    i64 n = (i64)table[0], ended = 0;
    Params *params = (Params *)table[TABLE_PARAMS], *base = (Params *)table[TABLE_BASE];
    State *state = (State *)table[TABLE_STATE];
    float *obs = (float *)table[TABLE_OBS];
    int8_t *masks = (int8_t *)table[TABLE_MASK];
    double *reward = (double *)table[TABLE_REWARD];
    uint8_t *terminated = (uint8_t *)table[TABLE_TERMINATED], *truncated = (uint8_t *)table[TABLE_TRUNCATED];
    double *terms = (double *)table[TABLE_TERMS], *figures = (double *)table[TABLE_KPIS];
    uint8_t *shown = (uint8_t *)table[TABLE_ENDED];
    for (i64 i = 0; i < n; i++)
        if (actions[i] < 0 || actions[i] >= ACTION) return -((i64)1 << 32) - i;
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
            for (i64 term = 0; term < 5; term++) s->terms[term] = 0.0;
            step(p, s, actions[i]);
            s->steps += 1;
            for (i64 term = 0; term < 5; term++) total += s->terms[term];
            ends = s->terminated | s->truncated;
            if (ends) {
                ended++;
                kpis(p, s, figures + i * FIGURES);
            }
        }
        if (shown[i] && !ends) memset(figures + i * FIGURES, 0, FIGURES * sizeof *figures);
        shown[i] = ends;
        reward[i] = total;
        for (i64 term = 0; term < 5; term++) terms[5 * i + term] = s->terms[term];
        terminated[i] = s->terminated;
        truncated[i] = s->truncated;
        observe(p, s, obs + i * WIDTH);
        mask(s, masks + i * ACTION);
    }
    return ended;
}
