// Judges Kubernetes objects as Argo CD does: by its own code for custom health checks, with a script of ours.
//
//	judge-argocd SCRIPT < OBJECTS
//
// OBJECTS is a JSON array of objects; prints a JSON array of {"status", "message"}, one for each.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/argo-cd/v3/util/lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

type verdict struct {
	Status  string `json:"status"`
	Message string `json:"message"`
}

func judge(script string, objects []*unstructured.Unstructured) ([]verdict, error) {
	verdicts := make([]verdict, 0, len(objects))
	for _, object := range objects {
		health, err := lua.VM{}.ExecuteHealthLua(object, script)
		if err != nil {
			return nil, err
		}
		verdicts = append(verdicts, verdict{Status: string(health.Status), Message: health.Message})
	}
	return verdicts, nil
}

func run() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: %s SCRIPT < OBJECTS", os.Args[0])
	}
	script, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	var objects []*unstructured.Unstructured
	if err := json.NewDecoder(os.Stdin).Decode(&objects); err != nil {
		return fmt.Errorf("objects on standard input: %w", err)
	}
	verdicts, err := judge(string(script), objects)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(verdicts)
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "judge-argocd:", err)
		os.Exit(1)
	}
}
