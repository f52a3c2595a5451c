package gateway

import (
	"strconv"
	"strings"

	"crier/gateway/api"
	"crier/internal/problem"
)

// refusals are the answers that the operations of the document share, by the code
// that stands for the status.
var refusals = []problem.Code{
	problem.InvalidInput, problem.Unauthorized, problem.Forbidden, problem.WrongUser, problem.TooLarge,
	problem.UnsupportedEncoding, problem.UnknownHost, problem.TooMany, problem.Internal, problem.Unavailable,
}

// refusedWith is what the gateway may answer before a route's handler has its say;
// parameters are those of its operation. What the handler itself answers is in its
// annotations.
func refusedWith(rt api.Route, parameters []any) []problem.Code {
	list := []problem.Code{problem.Unauthorized, problem.WrongUser, problem.UnknownHost, problem.Internal, problem.Unavailable}
	body, given := false, false
	for _, p := range parameters {
		parameter, _ := p.(map[string]any)
		body = body || parameter["in"] == "body"
		given = given || parameter["in"] == "query"
	}
	if body || given {
		list = append(list, problem.InvalidInput)
	}
	if body {
		list = append(list, problem.TooLarge)
	}
	if !streams(rt) {
		list = append(list, problem.UnsupportedEncoding)
	}
	if !safe(rt.Method) || rt.Scope != api.Public && rt.Scope != api.Person {
		list = append(list, problem.Forbidden)
	}
	if rt.Work != api.Light || streams(rt) {
		list = append(list, problem.TooMany)
	}
	return list
}

// documentRefusals completes the operations by the refusals that their routes share.
func documentRefusals(doc map[string]any, list []api.Route) {
	shared := make(map[string]any)
	for _, code := range refusals {
		entry := problem.Catalogue[code]
		shared[strconv.Itoa(entry.Status)] = map[string]any{"description": entry.Title, "schema": map[string]any{"$ref": "#/definitions/api.Problem"}}
	}
	doc["responses"] = shared
	for _, rt := range list {
		operation := operationOf(doc, rt.Path, strings.ToLower(rt.Method))
		if operation == nil {
			continue
		}
		parameters, _ := operation["parameters"].([]any)
		answers, _ := operation["responses"].(map[string]any)
		for _, code := range refusedWith(rt, parameters) {
			status := strconv.Itoa(problem.Catalogue[code].Status)
			if answers[status] == nil {
				answers[status] = map[string]any{"$ref": "#/responses/" + status}
			}
		}
		if types, ok := operation["produces"].([]any); ok {
			operation["produces"] = append(types, problem.ContentType)
		}
	}
}
