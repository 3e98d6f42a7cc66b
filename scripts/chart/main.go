// Command chart renders the Helm chart of scripts/deploy/kubernetes with its own values, for
// who installs without Helm.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	chart := flag.String("chart", "../deploy/kubernetes/chart", "the chart is in `DIR`")
	out := flag.String("out", "../deploy/kubernetes/stockade.yaml", "what it renders to goes to `FILE`")
	flag.Parse()
	text, err := render(*chart, nil, false)
	if err == nil {
		err = os.WriteFile(*out, text, 0o644)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "chart: %v: %s stays as it was\n", err, *out)
		os.Exit(1)
	}
}
