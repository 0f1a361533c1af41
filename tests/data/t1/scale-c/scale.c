#if broken
#error "this configuration does not compile"
#endif

void scale_reference(float *out, const float *in, float factor, int n) {
    for (int i = 0; i < n; i++) out[i] = factor * in[i];
}

void scale(float *out, const float *in, float factor, int n) {
    for (int start = 0; start < n; start += chunk)
        for (int i = start; i < start + chunk && i < n; i += unroll)
            for (int j = i; j < i + unroll && j < n; j++) out[j] = factor * in[j];
}
