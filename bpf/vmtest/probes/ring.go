package probes

var rings = map[string]probe{}
