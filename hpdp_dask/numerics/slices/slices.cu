// Slices on the GPU: one thread a sample of a slice. The same source runs on the CPU in the
// tests, behind a shim for the few CUDA words that it uses.
//
// axes: (n, 2, 3), the first two rows of each rotation times the padding.
// accumulator: (2 limit + 1, 2 limit + 1, limit + 1, 3); transform: the same with (2,).

struct Place {
    long long at;  // index of the nearest corner, in voxels
    float fx, fy, fz;
    float side;  // -1 where the sample was turned to the half x >= 0
    bool inside;
};

__device__ Place place(const float* axes, float x, float y, int limit)
{
    Place p;
    float px = x * axes[0] + y * axes[3];
    float py = x * axes[1] + y * axes[4];
    float pz = x * axes[2] + y * axes[5];
    p.side = px >= 0.0f ? 1.0f : -1.0f;
    px *= p.side;
    py = py * p.side + (float)limit;
    pz = pz * p.side + (float)limit;
    p.inside = px < (float)limit && py >= 0.0f && py < 2.0f * (float)limit && pz >= 0.0f
        && pz < 2.0f * (float)limit;
    int ix = (int)px, iy = (int)py, iz = (int)pz;
    p.fx = px - (float)ix;
    p.fy = py - (float)iy;
    p.fz = pz - (float)iz;
    long long width = 2 * limit + 1;
    p.at = ((long long)iz * width + iy) * (limit + 1) + ix;
    return p;
}

extern "C" __global__ void insert_slices(
    const float* contributions, const float* axes, const float* x, const float* y, int samples,
    int slices, int limit, float* accumulator)
{
    int s = blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= samples) return;
    long long row = limit + 1, plane = row * (2 * limit + 1);
    for (int i = blockIdx.y; i < slices; i += gridDim.y) {
        Place p = place(axes + 6 * i, x[s], y[s], limit);
        if (!p.inside) continue;
        const float* value = contributions + 3 * ((long long)i * samples + s);
        float real = value[0], imaginary = value[1] * p.side, weight = value[2];
        for (int corner = 0; corner < 8; corner++) {
            int dx = corner & 1, dy = (corner >> 1) & 1, dz = corner >> 2;
            float share = (dx ? p.fx : 1.0f - p.fx) * (dy ? p.fy : 1.0f - p.fy)
                * (dz ? p.fz : 1.0f - p.fz);
            float* to = accumulator + 3 * (p.at + dz * plane + dy * row + dx);
            atomicAdd(to, share * real);
            atomicAdd(to + 1, share * imaginary);
            atomicAdd(to + 2, share * weight);
        }
    }
}

extern "C" __global__ void extract_slices(
    const float* transform, const float* axes, const float* x, const float* y, int samples,
    int slices, int limit, float* out)
{
    int s = blockIdx.x * blockDim.x + threadIdx.x;
    if (s >= samples) return;
    long long row = limit + 1, plane = row * (2 * limit + 1);
    for (int i = blockIdx.y; i < slices; i += gridDim.y) {
        Place p = place(axes + 6 * i, x[s], y[s], limit);
        float real = 0.0f, imaginary = 0.0f;
        for (int corner = 0; p.inside && corner < 8; corner++) {
            int dx = corner & 1, dy = (corner >> 1) & 1, dz = corner >> 2;
            float share = (dx ? p.fx : 1.0f - p.fx) * (dy ? p.fy : 1.0f - p.fy)
                * (dz ? p.fz : 1.0f - p.fz);
            const float* from = transform + 2 * (p.at + dz * plane + dy * row + dx);
            real += share * from[0];
            imaginary += share * from[1];
        }
        float* to = out + 2 * ((long long)i * samples + s);
        to[0] = real;
        to[1] = imaginary * p.side;
    }
}

extern "C" __global__ void sum_rotated(
    const float* accumulator, const float* rotations, int count, int limit, float* total)
{
    long long row = limit + 1, width = 2 * limit + 1, plane = row * width;
    long long voxel = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    if (voxel >= plane * width) return;
    int kx = (int)(voxel % row);
    int ky = (int)(voxel / row % width) - limit;
    int kz = (int)(voxel / plane) - limit;
    if (kx * kx + ky * ky + kz * kz > limit * limit) return;
    float real = 0.0f, imaginary = 0.0f, weight = 0.0f;
    for (int g = 0; g < count; g++) {
        const float* r = rotations + 9 * g;
        float px = kx * r[0] + ky * r[3] + kz * r[6];
        float py = kx * r[1] + ky * r[4] + kz * r[7];
        float pz = kx * r[2] + ky * r[5] + kz * r[8];
        float side = px >= 0.0f ? 1.0f : -1.0f;
        px *= side;
        py = py * side + (float)limit;
        pz = pz * side + (float)limit;
        // Rounding may put a sample at the rim a hair beyond the grid.
        int ix = min((int)px, limit - 1);
        int iy = min(max((int)py, 0), 2 * limit - 1);
        int iz = min(max((int)pz, 0), 2 * limit - 1);
        float fx = px - (float)ix, fy = py - (float)iy, fz = pz - (float)iz;
        for (int corner = 0; corner < 8; corner++) {
            int dx = corner & 1, dy = (corner >> 1) & 1, dz = corner >> 2;
            float share = (dx ? fx : 1.0f - fx) * (dy ? fy : 1.0f - fy) * (dz ? fz : 1.0f - fz);
            const float* from
                = accumulator + 3 * ((iz + dz) * plane + (iy + dy) * row + ix + dx);
            real += share * from[0];
            imaginary += share * side * from[1];
            weight += share * from[2];
        }
    }
    float* to = total + 3 * voxel;
    to[0] = real;
    to[1] = imaginary;
    to[2] = weight;
}
