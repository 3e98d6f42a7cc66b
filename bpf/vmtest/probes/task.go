package probes

var tasks = map[string]probe{}
