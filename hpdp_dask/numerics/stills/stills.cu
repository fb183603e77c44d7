// Stills of crystals on the GPU: spots, a thread for each line of the reciprocal lattice; stamps,
// a block for each spot; counts, a thread for each cell. The same steps in the same types as the
// kernels for the CPU, so that both agree. The same source runs on the CPU in the tests.

typedef unsigned long long Bits;

// As numerics/counter_random.py.

__device__ Bits random_bits(Bits key, Bits counter)
{
    Bits state = key + (counter + 1ULL) * 0x9E3779B97F4A7C15ULL;
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9ULL;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBULL;
    return state ^ (state >> 31);
}

__device__ double random_uniform(Bits key, Bits counter)
{
    return ((double)(random_bits(key, counter) >> 11) + 0.5) * (1.0 / 9007199254740992.0);
}

// As numerics/poisson_counts.py: the table has STEPS rows for a photon, ROWS + 1 rows of COUNTS.

#define STEPS 16.0f
#define ROWS 512
#define COUNTS 96

__device__ int few_photons(double mean, double uniform)
{
    double chance = exp(-mean), total = chance;
    int count = 0;
    while (uniform >= total && count < 12) {
        count += 1;
        chance *= mean / count;
        total += chance;
    }
    return count;
}

__device__ int many_photons(float mean, Bits key)
{
    double b = 0.931 + 2.53 * (double)sqrtf(mean);
    double a = -0.059 + 0.02483 * b;
    double inverse = 1.1239 + 1.1328 / (b - 3.4);
    double squeeze = 0.9277 - 3.6224 / (b - 2.0);
    double logarithm = (double)logf(mean);
    for (Bits counter = 0;; counter += 2) {
        double u = random_uniform(key, counter) - 0.5;
        double v = random_uniform(key, counter + 1);
        double near = 0.5 - fabs(u);
        double count = floor((2.0 * a / near + b) * u + mean + 0.43);
        if (near >= 0.07 && v <= squeeze) return (int)count;
        if (count < 0.0 || (near < 0.013 && v > near)) continue;
        double left = log(v) + log(inverse) - log(a / (near * near) + b);
        if (left <= count * logarithm - mean - lgamma(count + 1.0)) return (int)count;
    }
}

// Draw the count of a pixel; gives the larger of it and `most`, without drawing to the end what
// cannot be larger.
__device__ int draw(
    float mean, Bits key, Bits pixel, const unsigned int* thresholds, const unsigned char* guide,
    int most)
{
    Bits bits = random_bits(key, pixel);
    float steps = mean * STEPS;
    int row = (int)min(steps, (float)ROWS);
    if (row >= ROWS) return max(most, many_photons(mean, bits));
    float rest = (steps - (float)row) * (1.0f / STEPS);
    unsigned int limit = (unsigned int)(max(1.0f - rest, 0.0f) * 4294967040.0f);
    unsigned int drawn = (unsigned int)bits, other = (unsigned int)(bits >> 32);
    int more = 0;
    if (other > limit)
        more = few_photons((double)mean - row * (1.0 / STEPS), other * (1.0 / 4294967296.0));
    const unsigned int* cumulative = thresholds + row * COUNTS;
    int least = most - more;
    if (least >= 0 && (least >= COUNTS || drawn < cumulative[least])) return most;
    int count = max((int)guide[row * 256 + (drawn >> 24)], least);
    while (count < COUNTS - 1 && drawn >= cumulative[count]) count += 1;
    return max(most, count + more);
}

extern "C" __global__ void draw_counts(
    const float* means, long long number, unsigned long long key, const unsigned int* thresholds,
    const unsigned char* guide, int* counts)
{
    long long pixel = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel < number) counts[pixel] = draw(means[pixel], key, pixel, thresholds, guide, 0);
}

// As numerics/bragg_kernel.py. Rows of matrices one after the other.

struct Still {
    const double *settings, *star, *shape, *origin, *fast, *slow;
    int rows, columns;
    const double* profile;
    int points;
    unsigned long long key;
    const float* table;
    int h, k, l;  // entries of the table along each axis, 0 without one
};

#define REACH 4.5
#define MARGIN 24.0

__device__ double strength(const Still& s, const int* index, double squared)
{
    if (s.h > 0) {
        int h = index[0] + s.h / 2, k = index[1] + s.k / 2, l = index[2] + s.l / 2;
        bool inside = 0 <= h && h < s.h && 0 <= k && k < s.k && 0 <= l && l < s.l;
        return inside ? (double)s.table[((long long)h * s.k + k) * s.l + l] : 0.0;
    }
    int sign = 1;
    for (int axis = 0; axis < 3; axis++)
        if (index[axis] != 0) {
            sign = index[axis] > 0 ? 1 : -1;
            break;
        }
    long long packed = sign * index[0] + 32768LL;
    packed = packed * 65536LL + (sign * index[1] + 32768LL);
    packed = packed * 65536LL + (sign * index[2] + 32768LL);
    double at = squared / s.settings[13];
    int low = min((int)at, s.points - 2);
    double part = min(at - low, 1.0);
    double mean = s.profile[low] * (1.0 - part) + s.profile[low + 1] * part;
    return -mean * log(random_uniform(s.key, (Bits)packed));
}

__device__ double dot(const double* a, const double* b)
{
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// Work out the spot of one reflection; gives whether there is one, and writes it where it fits.
__device__ bool spot(
    const Still& s, double gx, double gy, double gz, double squared, const int* index,
    long long place, long long room, double* spots)
{
    const double *settings = s.settings, *fast = s.fast, *slow = s.slow, *shape = s.shape;
    double k = settings[0];
    double n[3] = {gx, gy, gz + k};
    double length = sqrt(dot(n, n)), miss = length - k;
    for (int axis = 0; axis < 3; axis++) n[axis] /= length;
    double p[3] = {
        fast[1] * slow[2] - fast[2] * slow[1], fast[2] * slow[0] - fast[0] * slow[2],
        fast[0] * slow[1] - fast[1] * slow[0]};
    double pixel_squared = dot(fast, fast);
    double facing = dot(n, p), away = dot(s.origin, p);
    if (facing * away <= 0.0) return false;
    double far = away / facing;
    double d[3];
    for (int axis = 0; axis < 3; axis++) d[axis] = far * n[axis] - s.origin[axis];
    double column = dot(d, fast) / pixel_squared, row = dot(d, slow) / pixel_squared;
    if (!(-MARGIN < column && column < s.columns + MARGIN && -MARGIN < row
          && row < s.rows + MARGIN))
        return false;

    double divergence = settings[5], even = settings[4] * squared;
    double pull = settings[6] - settings[4];
    double cxx = shape[0] + even + divergence + pull * gx * gx;
    double cyy = shape[4] + even + divergence + pull * gy * gy;
    double czz = shape[8] + even + pull * gz * gz;
    double cxy = shape[1] + pull * gx * gy;
    double cxz = shape[2] + pull * gx * gz;
    double cyz = shape[5] + pull * gy * gz;
    double e[3] = {
        cxx * n[0] + cxy * n[1] + cxz * n[2], cxy * n[0] + cyy * n[1] + cyz * n[2],
        cxz * n[0] + cyz * n[1] + czz * n[2]};
    double thickness = dot(n, e);
    double off = miss * miss / thickness;
    if (off > REACH * REACH) return false;

    // cofactors of C, which is symmetric
    double ixx = cyy * czz - cyz * cyz, ixy = cxz * cyz - cxy * czz, ixz = cxy * cyz - cxz * cyy;
    double iyy = cxx * czz - cxz * cxz, iyz = cxy * cxz - cxx * cyz, izz = cxx * cyy - cxy * cxy;
    double determinant = cxx * ixx + cxy * ixy + cxz * ixz;
    double peak = settings[9] * strength(s, index, squared) * sqrt(settings[14] / determinant);
    peak *= exp(-0.5 * off - 0.5 * settings[8] * squared);

    // the brightest point of the cut
    double shift = miss / thickness;
    n[0] = gx - shift * e[0];
    n[1] = gy - shift * e[1];
    n[2] = gz - shift * e[2] + k;
    length = sqrt(dot(n, n));
    for (int axis = 0; axis < 3; axis++) n[axis] /= length;
    facing = dot(n, p);
    far = away / facing;
    for (int axis = 0; axis < 3; axis++) d[axis] = far * n[axis] - s.origin[axis];
    column = dot(d, fast) / pixel_squared;
    row = dot(d, slow) / pixel_squared;

    // solid angle (the normal is as long as a pixel is large) and polarisation
    peak *= fabs(facing) / (far * far);
    double sine_squared = n[0] * n[0] + n[1] * n[1];
    if (settings[15] > 0.0)
        peak *= 0.5 * (2.0 - sine_squared - settings[7] * (n[0] * n[0] - n[1] * n[1]));
    if (!(peak > settings[12])) return false;

    // q changes with the pixel across the scattered beam
    double scale = k / far, a[3], b[3];
    double along_fast = dot(fast, n) * scale, along_slow = dot(slow, n) * scale;
    for (int axis = 0; axis < 3; axis++) {
        a[axis] = fast[axis] * scale - along_fast * n[axis];
        b[axis] = slow[axis] * scale - along_slow * n[axis];
    }
    double ta[3] = {
        ixx * a[0] + ixy * a[1] + ixz * a[2], ixy * a[0] + iyy * a[1] + iyz * a[2],
        ixz * a[0] + iyz * a[1] + izz * a[2]};
    double tb[3] = {
        ixx * b[0] + ixy * b[1] + ixz * b[2], ixy * b[0] + iyy * b[1] + iyz * b[2],
        ixz * b[0] + iyz * b[1] + izz * b[2]};
    double mxx = dot(a, ta) / determinant, mxy = dot(b, ta) / determinant;
    double myy = dot(b, tb) / determinant;
    double sharp = mxx * myy - mxy * mxy;

    double blur = settings[10];
    double drawn_out = settings[11] * sine_squared / (n[2] * n[2]) / pixel_squared;
    if (blur > 0.0 || drawn_out > 0.0) {
        double vxx = myy / sharp, vxy = -mxy / sharp, vyy = mxx / sharp;
        // along the radius, as seen in the detector's axes
        double rx = (n[0] * fast[0] + n[1] * fast[1]) / sqrt(pixel_squared);
        double ry = (n[0] * slow[0] + n[1] * slow[1]) / sqrt(pixel_squared);
        double radius = rx * rx + ry * ry;
        if (radius > 0.0) drawn_out /= radius;
        vxx += blur + drawn_out * rx * rx;
        vxy += drawn_out * rx * ry;
        vyy += blur + drawn_out * ry * ry;
        double broad = vxx * vyy - vxy * vxy;
        peak /= sqrt(broad * sharp);
        if (!(peak > settings[12])) return false;
        mxx = vyy / broad;
        mxy = -vxy / broad;
        myy = vxx / broad;
    }
    if (place < room) {
        double* to = spots + 7 * place;
        to[0] = column;
        to[1] = row;
        to[2] = mxx;
        to[3] = mxy;
        to[4] = myy;
        to[5] = peak;
        to[6] = 1.0 / sqrt(squared);
    }
    return true;
}

// Go along the lines u a* + v b* through the Ewald sphere, u from -first to first, v from -second
// to second: numbers[line] spots of each, written from starts[line] on as far as there is room.
// parameters: settings (16), star (9), shape (9), origin (3), fast (3), slow (3).
extern "C" __global__ void find_spots(
    const double* parameters, int first, int second, int order_u, int order_v, int order_w,
    int rows, int columns, const double* profile, int points, unsigned long long key,
    const float* table, int table_h, int table_k, int table_l, const long long* starts,
    long long room, long long* numbers, double* spots)
{
    int line = blockIdx.x * blockDim.x + threadIdx.x, across_lines = 2 * second + 1;
    if (line >= (2 * first + 1) * across_lines) return;
    int u = line / across_lines - first, v = line % across_lines - second;
    Still s = {
        parameters, parameters + 16, parameters + 25, parameters + 34, parameters + 37,
        parameters + 40, rows, columns, profile, points, key, table, table_h, table_k, table_l};
    double k = s.settings[0], smallest = s.settings[1], largest = s.settings[2];
    double reach = s.settings[3];
    const double *star = s.star, *step = s.star + 6;
    double step_squared = dot(step, step);
    double start_of_line[3];
    for (int axis = 0; axis < 3; axis++) start_of_line[axis] = u * star[axis] + v * star[3 + axis];
    double x = start_of_line[0], y = start_of_line[1], z = start_of_line[2] + k;
    double along = (x * step[0] + y * step[1] + z * step[2]) / step_squared;
    double across = x * x + y * y + z * z - along * along * step_squared;
    double outer = ((k + reach) * (k + reach) - across) / step_squared;
    double inner = ((k - reach) * (k - reach) - across) / step_squared;
    long long found = 0;
    int sides = outer <= 0.0 ? 0 : inner > 0.0 ? 2 : 1;
    for (int side = 0; side < sides; side++) {
        double far = sqrt(outer), near = inner > 0.0 ? sqrt(inner) : 0.0;
        double start = side == 0 ? -along - far : -along + near;
        double stop = sides == 2 && side == 0 ? -along - near : -along + far;
        for (int w = (int)ceil(start); w <= (int)floor(stop); w++) {
            double gx = x + w * step[0], gy = y + w * step[1], gz = z + w * step[2] - k;
            double squared = gx * gx + gy * gy + gz * gz;
            if (squared > largest * largest || squared < smallest * smallest) continue;
            if (u == 0 && v == 0 && w == 0) continue;
            int index[3];
            index[order_u] = u;
            index[order_v] = v;
            index[order_w] = w;
            found += spot(s, gx, gy, gz, squared, index, starts[line] + found, room, spots);
        }
    }
    numbers[line] = found;
}

// As numerics/stamped_spots.py, but for sums in units of 2**-28 photons: those of whole numbers
// do not depend on which thread comes first.
extern "C" __global__ void stamp_spots(
    const double* spots, int number, double faintest, int rows, int columns,
    unsigned long long* sums)
{
    if ((int)blockIdx.x >= number) return;
    const double* spot = spots + 7 * (long long)blockIdx.x;
    double x = spot[0], y = spot[1], xx = spot[2], xy = spot[3], yy = spot[4], peak = spot[5];
    if (peak <= faintest) return;
    double limit = 2.0 * log(peak / faintest);
    double tall = sqrt(limit * xx / (xx * yy - xy * xy));
    int last = min(rows - 1, (int)(y + tall));
    for (int row = max(0, (int)ceil(y - tall)) + (int)threadIdx.x; row <= last;
         row += (int)blockDim.x) {
        double dy = row - y;
        double middle = -xy * dy / xx;
        double rest = limit - (yy - xy * xy / xx) * dy * dy;
        if (rest <= 0.0) continue;
        double wide = sqrt(rest / xx);
        int stop = min(columns - 1, (int)floor(x + middle + wide));
        for (int column = max(0, (int)ceil(x + middle - wide)); column <= stop; column++) {
            double dx = column - x;
            float exponent = (float)(-0.5 * (xx * dx * dx + 2.0 * xy * dx * dy + yy * dy * dy));
            float photons = (float)peak * expf(exponent);
            atomicAdd(
                sums + (long long)row * columns + column,
                (unsigned long long)((double)photons * 268435456.0 + 0.5));
        }
    }
}

// As numerics/still_image.py: the largest count of a cell of factor x factor pixels.
// parameters: origin (3), fast (3), slow (3), distance, 1 / step of the profile, slope (2),
// pedestal, shadow (9).
extern "C" __global__ void count_photons(
    const float* spots, int width, const double* parameters, const float* profile, int points,
    const bool* good_rows, const bool* good_columns, unsigned long long key,
    const unsigned int* thresholds, const unsigned char* guide, int factor, int cell_rows,
    int cell_columns, int* counts)
{
    long long cell = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (cell >= (long long)cell_rows * cell_columns) return;
    const double *origin = parameters, *fast = parameters + 3, *slow = parameters + 6;
    float distance = (float)parameters[9], per_step = (float)parameters[10];
    float slope_x = (float)parameters[11], slope_y = (float)parameters[12];
    float pedestal = (float)parameters[13];
    const double* shadow = parameters + 14;
    float step_x = (float)fast[0], step_y = (float)fast[1], step_z = (float)fast[2];
    // the shadow fades like 1 / (1 + exp), of which nothing is left this far out
    double beyond = shadow[2] > 0.0 ? shadow[2] + 12.0 * shadow[3] : 0.0;
    int first_row = (int)(cell / cell_columns) * factor;
    int first_column = (int)(cell % cell_columns) * factor;
    int most = 0;
    for (int row = first_row; row < first_row + factor; row++) {
        if (!good_rows[row]) continue;
        double row_x = origin[0] + row * slow[0], row_y = origin[1] + row * slow[1];
        float x = (float)row_x, y = (float)row_y, z = (float)(origin[2] + row * slow[2]);
        for (int column = first_column; column < first_column + factor; column++) {
            if (!good_columns[column]) continue;
            float along = (float)column;
            float px = x + along * step_x, py = y + along * step_y;
            float inverse = 1.0f / (z + along * step_z);
            float xx = px * px, yy = py * py, radial = xx + yy + 1e-12f;
            float at = sqrtf(radial) * inverse * per_step;
            float nearer = distance * inverse;
            float weight = nearer * nearer * nearer;
            weight *= max(1.0f + slope_x * px + slope_y * py, 0.0f);
            float sided = weight * (xx - yy) / radial;

            int low = min((int)at, points - 2);
            float part = min(at - (float)low, 1.0f);
            const float* here = profile + 2 * low;
            float mean = (here[0] + part * (here[2] - here[0])) * weight
                + (here[1] + part * (here[3] - here[1])) * sided
                + spots[(long long)row * width + column];

            double dx = row_x + column * fast[0] - shadow[0];
            double dy = row_y + column * fast[1] - shadow[1];
            double away = dx * dx + dy * dy;
            if (away < beyond * beyond) {
                double edge = (sqrt(away) - shadow[2]) / shadow[3];
                mean = (float)(mean * (shadow[4] + (1.0 - shadow[4]) / (1.0 + exp(-edge))));
            }
            bool ahead = dx * shadow[6] + dy * shadow[7] > 0.0;
            if (ahead && fabs(dx * shadow[7] - dy * shadow[6]) < shadow[5])
                mean = (float)(mean * shadow[8]);
            if (pedestal > 0.0f) mean += pedestal;

            unsigned long long pixel = (unsigned long long)row * (cell_columns * factor) + column;
            most = draw(mean, key, pixel, thresholds, guide, most);
        }
    }
    counts[cell] = most;
}
