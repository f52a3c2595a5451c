package gateway

import (
	"encoding/json"
	"strings"
	"testing"

	"crier/docs"
)

// Whatever body an operation takes, its definition has an example, or each of its
// members one: "string" is no example that a first try succeeds with.
func TestSwaggerExamples(t *testing.T) {
	t.Parallel()
	var doc struct {
		Paths map[string]map[string]struct {
			Parameters []struct {
				In     string
				Schema struct {
					Ref string `json:"$ref"`
				}
			}
		}
		Definitions map[string]struct {
			Properties map[string]struct {
				Example any
			}
		}
	}
	if err := json.Unmarshal([]byte(docs.SwaggerInfo.ReadDoc()), &doc); err != nil {
		t.Fatal(err)
	}
	given := examples("7")
	checked := 0
	for path, operations := range doc.Paths {
		for method, o := range operations {
			for _, p := range o.Parameters {
				name := strings.TrimPrefix(p.Schema.Ref, "#/definitions/")
				if p.In != "body" || name == "" {
					continue
				}
				checked++
				if given[name] != nil {
					continue
				}
				for member, property := range doc.Definitions[name].Properties {
					if property.Example == nil {
						t.Errorf("%s %s: %s has no example, and its %s none either", method, path, name, member)
					}
				}
			}
		}
	}
	for name := range given {
		if _, ok := doc.Definitions[name]; !ok {
			t.Errorf("an example of %s, which the document does not define", name)
		}
	}
	if checked < 20 {
		t.Errorf("%d bodies were found", checked)
	}
}

// The example of a change has a body of its own.
func TestSwaggerChangeOfAnAlert(t *testing.T) {
	t.Parallel()
	var doc map[string]any
	if err := json.Unmarshal([]byte(docs.SwaggerInfo.ReadDoc()), &doc); err != nil {
		t.Fatal(err)
	}
	if body := bodyOf(doc, "/alerts/{id}", "patch"); body == nil {
		t.Error("no body was found")
	}
	if body := bodyOf(doc, "/alerts/{id}", "delete"); body != nil {
		t.Errorf("DELETE has the body %v", body)
	}
}
