// Prints what an Atlantis server makes of its server-side configuration, with Atlantis' own parser.
//
// The file's path is the only argument. The answer is JSON about a repository that has no configuration of its own:
//
//	{"policy_check": B, "custom_policy_check": B, "plan": [STEP], "policies": [STEP]}
//
// A STEP is {"name": N, "run": LINES}, where LINES is empty unless the step is a shell's. A file that Atlantis refuses
// ends with exit code 1 and the reason on standard error.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/runatlantis/atlantis/server/core/config"
	"github.com/runatlantis/atlantis/server/core/config/valid"
	"github.com/runatlantis/atlantis/server/logging"
)

type step struct {
	Name string `json:"name"`
	Run  string `json:"run"`
}

func steps(stage valid.Stage) []step {
	all := []step{}
	for _, one := range stage.Steps {
		all = append(all, step{one.StepName, one.RunCommand})
	}
	return all
}

func read(file string) error {
	// As with --enable-policy-checks, without which a server leaves the policy check out.
	defaults := valid.NewGlobalCfgFromArgs(valid.GlobalCfgArgs{PolicyCheckEnabled: true})
	global, err := (&config.ParserValidator{}).ParseGlobalCfg(file, defaults)
	if err != nil {
		return err
	}
	log, err := logging.NewStructuredLogger()
	if err != nil {
		return err
	}
	log.SetLevel(logging.Error)
	project := global.DefaultProjCfg(log, "github.com/org/infra", "mesh", "default")
	return json.NewEncoder(os.Stdout).Encode(map[string]any{
		"policy_check":        project.PolicyCheck,
		"custom_policy_check": project.CustomPolicyCheck,
		"plan":                steps(project.Workflow.Plan),
		"policies":            steps(project.Workflow.PolicyCheck),
	})
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: atlantis REPOS.YAML")
		os.Exit(2)
	}
	if err := read(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
