package probes

var storms = map[string]probe{}
