// Renders Go templates, so that tests can hold another implementation against the original.
//
// One JSON case a line on standard input: {"template": "...", "data": ..., "sprig": bool,
// "missingkey": "zero"}. One JSON answer a line: {"output": "..."} or {"error": "...", "stage":
// "parse" | "execute"}. Data numbers arrive as float64, as they do in a chart's values.
package main

import (
	"encoding/json"
	"io"
	"log"
	"os"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

type testCase struct {
	Template   string `json:"template"`
	Data       any    `json:"data"`
	Sprig      bool   `json:"sprig"`
	MissingKey string `json:"missingkey"`
}

type answer struct {
	Output *string `json:"output,omitempty"`
	Stage  string  `json:"stage,omitempty"`
	Error  string  `json:"error,omitempty"`
}

func main() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for {
		var c testCase
		if err := in.Decode(&c); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		if err := out.Encode(render(c)); err != nil {
			log.Fatal(err)
		}
	}
}

func render(c testCase) answer {
	t := template.New("case")
	if c.Sprig {
		t = t.Funcs(sprig.TxtFuncMap())
	}
	if c.MissingKey != "" {
		t = t.Option("missingkey=" + c.MissingKey)
	}
	t, err := t.Parse(c.Template)
	if err != nil {
		return answer{Stage: "parse", Error: err.Error()}
	}
	var b strings.Builder
	if err := t.Execute(&b, c.Data); err != nil {
		return answer{Stage: "execute", Error: err.Error()}
	}
	s := b.String()
	return answer{Output: &s}
}
