-- Health of a TuneJob for Argo CD: what goes under `resource.customizations.health.fractune.dev_TuneJob` in the
-- ConfigMap argocd-cm (argocd-cm.yaml beside this).
local status = obj.status or {}
local holds = {}
for _, condition in ipairs(status.conditions or {}) do
  if condition.status == "True" then
    holds[condition.type] = condition
  end
end

local function health(word, condition, otherwise)
  local message = otherwise
  if condition ~= nil and condition.message ~= nil and condition.message ~= "" then
    message = condition.reason .. ": " .. condition.message
  end
  return {status = word, message = message}
end

if obj.metadata.deletionTimestamp ~= nil then
  return health("Progressing", nil, "being deleted")
end
if status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", nil, "waits for the operator")
end
if holds.Failed then
  return health("Degraded", holds.Failed, "failed")
end
if holds.Stalled then
  return health("Degraded", holds.Stalled, "stalled")
end
if holds.Complete then
  return health("Healthy", holds.Complete, "complete")
end
if holds.Suspended then
  -- A queue lets the job run by itself; spec.suspend is for somebody to take back.
  if holds.Suspended.reason == "Queued" then
    return health("Progressing", holds.Suspended, "queued")
  end
  return health("Suspended", holds.Suspended, "suspended")
end
return health("Progressing", holds.Reconciling, "waits for the operator")
