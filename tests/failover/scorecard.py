"""The figures as a table, and what in them must not be."""

GAP_GOAL = 30.0  # seconds; ttl 20 and what it takes to notice and to promote
PATIENCE = 15.0  # for any one answer, 503 included

_HEAD = (
    f"{'fault':<16}{'acked':>8}{'lost':>6}{'heads':>8}{'forked':>8}"
    f"{'gap s':>8}{'worker s':>10}{'whole s':>9}"
)


def table(score):
    """Return the scorecard for people."""
    lines = [_HEAD]
    for row in score["rows"]:
        lines.append(
            f"{row['fault']:<16}{row['acked']:>8}{row['lost']:>6}{row['heads']:>8}"
            f"{row['forked']:>8}{row['gap']:>8.1f}{row['gap_worker']:>10.1f}"
            f"{row['back']:>9.1f}"
        )
    total = score["total"]
    lines.append(
        f"all: {total['acked']} acknowledged, {total['lost']} lost;"
        f" {total['heads']} heads released, {total['forked']} forked;"
        f" slowest answer {total['slowest_answer']} s; answers {total['statuses']}"
    )
    control = score["control"]
    if control:
        lines.append(
            f"control (asynchronous standby): {control['acked']} acknowledged,"
            f" {control['lost']} lost; {control['heads']} heads released,"
            f" {control['forked']} forked; {control['refusing']} of"
            f" {control['workers']} workers refused to sign on;"
            f" a new worker without a memory signed: {control['signed_on']}"
        )
    return "\n".join(lines)


def verdict(score):
    """Return what must not be; empty if all is well."""
    reasons = []
    for row in score["rows"]:
        if row["faults"]:
            reasons.append(f"{row['fault']}: {row['faults']}")
        if row["gap"] > GAP_GOAL:
            reasons.append(f"{row['fault']}: no write for {row['gap']} s")
    total = score["total"]
    reasons += total["faults"][:5]
    if total["slowest_answer"] > PATIENCE:
        reasons.append(f"an answer took {total['slowest_answer']} s")
    control = score["control"]
    if control and not (control["lost"] and control["forked"]):
        reasons.append("the control lost or forked nothing: these checks are blind")
    return reasons
