// Judges Kubernetes objects as Flux and Helm do, by the libraries that they use.
//
//	judge-flux kstatus < OBJECTS
//	judge-flux expressions EXPRESSIONS < OBJECTS
//
// OBJECTS is a JSON array of objects. With `kstatus` they are judged by their conditions, as Helm 4 and Flux do by
// themselves; with `expressions` as Flux's kustomize-controller does where spec.healthCheckExprs has EXPRESSIONS (JSON:
// {"current", "inProgress", "failed"}). Prints a JSON array of {"status", "message"}, one for each object.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/pkg/apis/kustomize"
	"github.com/fluxcd/pkg/runtime/cel"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

type judge func(*unstructured.Unstructured) (*status.Result, error)

func judgeOf(arguments []string) (judge, error) {
	switch {
	case len(arguments) == 1 && arguments[0] == "kstatus":
		return status.Compute, nil
	case len(arguments) == 2 && arguments[0] == "expressions":
		text, err := os.ReadFile(arguments[1])
		if err != nil {
			return nil, err
		}
		var expressions kustomize.HealthCheckExpressions
		if err := json.Unmarshal(text, &expressions); err != nil {
			return nil, fmt.Errorf("%s: %w", arguments[1], err)
		}
		evaluator, err := cel.NewStatusEvaluator(&expressions)
		if err != nil {
			return nil, err
		}
		return func(object *unstructured.Unstructured) (*status.Result, error) {
			return evaluator.Evaluate(context.Background(), object)
		}, nil
	default:
		return nil, errors.New("usage: judge-flux kstatus|expressions [EXPRESSIONS] < OBJECTS")
	}
}

func run() error {
	judge, err := judgeOf(os.Args[1:])
	if err != nil {
		return err
	}
	var objects []*unstructured.Unstructured
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return fmt.Errorf("objects on standard input: %w", err)
	}
	verdicts := make([]verdict, 0, len(objects))
	for _, object := range objects {
		result, err := judge(object)
		if err != nil {
			return err
		}
		verdicts = append(verdicts, verdict{Status: result.Status.String(), Message: result.Message})
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "judge-flux:", err)
		os.Exit(1)
	}
}
