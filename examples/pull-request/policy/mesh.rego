# Rules for OPA and conftest on `terraform-provider-mesh review --format json`:
#   terraform-provider-mesh review plan.json --format json | conftest test --policy policy -
package main

import rego.v1

deny contains message if {
	input.format != 1
	message := sprintf("These rules know format 1 of the review, this is %v.", [input.format])
}

deny contains message if {
	some left in input.left_out
	message := sprintf("%s was left out of the review: give it more --max-bytes.", [left])
}

# Nothing dangerous that nobody has accepted.
deny contains message if {
	some risk in input.risks
	risk.level in {"danger", "forbidden"}
	is_null(risk.accepted)
	message := sprintf("%s %s: %s %s", [risk.number, risk.title, risk.address, risk.what])
}

# In production every link goes both ways.
deny contains message if {
	some link in input.topology.after.links
	startswith(link.watcher, "prod-")
	startswith(link.watched, "prod-")
	not {"watcher": link.watched, "watched": link.watcher} in input.topology.after.links
	message := sprintf("%s sees %s, which does not see it.", [link.watcher, link.watched])
}

# A warning does not stop a merge.
warn contains message if {
	some row in input.sections.restarts
	row.certainty == "by hand"
	message := sprintf("The workloads of %s must be restarted: %s.", [row.cluster, row.why])
}
