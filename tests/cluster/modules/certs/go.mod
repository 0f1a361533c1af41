module fractune.dev/cluster/certs

go 1.24
