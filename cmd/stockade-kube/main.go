// Command stockade-kube brings Stockade to Kubernetes: one beside the agent of each node, and
// one for the cluster.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/stockade-dev/stockade/agent/kube"
)

var version = "unknown" // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run runs one command line and returns its exit code: 1 if it failed, 2 if the command line
// is wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	app := &cli.App{
		Name: "stockade-kube", Usage: "Stockade in a Kubernetes cluster", Version: version,
		HideHelpCommand: true, Writer: stdout, ErrWriter: stderr, ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError: misused,
		Flags:        []cli.Flag{&cli.StringFlag{Name: "kubeconfig", Usage: "`FILE` that says how to reach the cluster (default: as a pod)"}},
		Commands:     []*cli.Command{nodeCommand(), controlCommand(), uninstallCommand()},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return cli.Exit(fmt.Sprintf("%q: no such verb: nothing is done; use node, control or uninstall", c.Args().First()), exitUsage)
			}
			return cli.ShowAppHelp(c)
		},
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, "stockade-kube:", err)
	var code cli.ExitCoder
	if errors.As(err, &code) {
		return code.ExitCode()
	}
	return 1
}

const exitUsage = 2

// misused is the error of a command line that is wrong.
func misused(_ *cli.Context, err error, _ bool) error { return cli.Exit(err, exitUsage) }

// needed reads a flag that may not be empty.
func needed(c *cli.Context, flag string) (string, error) {
	if text := c.String(flag); text != "" {
		return text, nil
	}
	return "", cli.Exit("--"+flag+": missing: nothing is done; name it", exitUsage)
}

// listening are the flags of what either verb listens at.
func listening(probes string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "metrics", Value: "0", Usage: "`ADDRESS` for metrics, 0 for none"},
		&cli.StringFlag{Name: "probes", Value: probes, Usage: "`ADDRESS` for /healthz and /readyz, 0 for none"},
	}
}

func nodeCommand() *cli.Command {
	return &cli.Command{
		Name: "node", OnUsageError: misused, Usage: "write what the cluster's policies say for the agent of this node, and tell the cluster what that holds",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "node", EnvVars: []string{"NODE_NAME"}, Usage: "`NAME` of the node"},
			&cli.StringFlag{Name: "dir", Value: "/run/stockade/kubernetes", Usage: "`FOLDER` in which containers_from of agent.yaml lies"},
			&cli.StringFlag{Name: "socket", Value: kube.DefaultSocket, Usage: "the agent's `SOCKET`"},
		}, listening("0")...),
		Action: func(c *cli.Context) error {
			name, err := needed(c, "node")
			if err != nil {
				return err
			}
			dir := c.String("dir")
			if !filepath.IsAbs(dir) {
				return cli.Exit(fmt.Sprintf("--dir %q: not from the root: nothing is done; the agent must find the files under the same names", dir), exitUsage)
			}
			cfg, err := kube.Config(c.String("kubeconfig"))
			if err != nil {
				return err
			}
			return kube.RunNode(c.Context, cfg, kube.NodeOptions{Node: name, Dir: filepath.Clean(dir), Socket: c.String("socket"),
				Version: version, Metrics: c.String("metrics"), Probes: c.String("probes")})
		},
	}
}

func controlCommand() *cli.Command {
	return &cli.Command{
		Name: "control", OnUsageError: misused, Usage: "judge the cluster's policies as they are made, and sum up what nodes tell",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "namespace", EnvVars: []string{"POD_NAMESPACE"}, Usage: "`NAMESPACE` that it runs in"},
			&cli.StringFlag{Name: "service", Value: "stockade-control", Usage: "`NAME` of the service by which the API server reaches it"},
			&cli.StringFlag{Name: "secret", Value: "stockade-control", Usage: "`NAME` of the Secret that keeps its certificate; it is made if need be"},
			&cli.StringFlag{Name: "webhook", Value: "stockade-policies", Usage: "`NAME` of the ValidatingWebhookConfiguration"},
			&cli.IntFlag{Name: "port", Value: 9443, Usage: "`PORT` at which policies are judged"},
			&cli.StringFlag{Name: "certificates", Value: "/run/certificates", Usage: "`FOLDER` for a copy of the Secret"},
			&cli.BoolFlag{Name: "alone", Usage: "no other one runs: elect none"},
		}, listening(":8081")...),
		Action: func(c *cli.Context) error {
			namespace, err := needed(c, "namespace")
			if err != nil {
				return err
			}
			cfg, err := kube.Config(c.String("kubeconfig"))
			if err != nil {
				return err
			}
			service := c.String("service") + "." + namespace + ".svc"
			return kube.RunControl(c.Context, cfg, kube.ControlOptions{Namespace: namespace, Secret: c.String("secret"), Webhook: c.String("webhook"),
				Names: []string{service}, Port: c.Int("port"), Certificates: c.String("certificates"),
				Metrics: c.String("metrics"), Probes: c.String("probes"), Alone: c.Bool("alone")})
		},
	}
}

func uninstallCommand() *cli.Command {
	return &cli.Command{
		Name: "uninstall", OnUsageError: misused, Usage: "end the pods that are held, then the agents, then enforcement on each node",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "runtime-class", Value: "stockade", Usage: "`NAME` of the RuntimeClass: it goes first"},
			&cli.StringFlag{Name: "daemonset", Required: true, Usage: "the agents' DaemonSet, `NAMESPACE/NAME`"},
			&cli.StringFlag{Name: "pod", Required: true, TakesFile: true, Usage: "a pod, which ends enforcement on the node that it runs on: YAML in `FILE`"},
			&cli.DurationFlag{Name: "timeout", Value: 10 * time.Minute, Usage: "give up after this `TIME`"},
		},
		Action: func(c *cli.Context) error {
			namespace, name, ok := strings.Cut(c.String("daemonset"), "/")
			if !ok || namespace == "" || name == "" {
				return cli.Exit(fmt.Sprintf("--daemonset %q: not NAMESPACE/NAME: nothing was removed", c.String("daemonset")), exitUsage)
			}
			pod, err := os.ReadFile(c.String("pod"))
			if err != nil {
				return fmt.Errorf("pod: %w: nothing was removed", err)
			}
			cfg, err := kube.Config(c.String("kubeconfig"))
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
			defer cancel()
			return kube.Uninstall(ctx, cfg, kube.Removal{RuntimeClass: c.String("runtime-class"), Namespace: namespace, DaemonSet: name, Pod: pod,
				Say: func(text string) { fmt.Fprintln(c.App.Writer, text) }})
		},
	}
}
